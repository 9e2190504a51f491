"""What is addressed to one person or role reaches no other browser, whichever way it travels."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.tab import Tab
from tests.support.beacon_server import Beacon

AUDIENCES = {"alice": "user:alice", "bob": "role:operator"}


@pytest.fixture
def rollout(beacon: Beacon) -> Iterator[Beacon]:
    yield beacon
    beacon.set_rollout(100)


def test_what_is_for_alice_or_for_operators_never_reaches_charlie(rollout: Beacon, visit: Visit) -> None:
    beacon = rollout
    publish(beacon, "rendered")
    tabs = {name: visit(beacon, name, None, hear=True) for name in ("alice", "bob", "charlie")}
    documents = {name: tab.goto().text() for name, tab in tabs.items()}

    for tab in tabs.values():
        tab.wait_state("connected")
    wait_seen(tabs, publish(beacon, "pushed"))
    # A stream's text is read beside the page: wait until it holds the last word of this batch.
    for tab in tabs.values():
        tab.page.wait_for_function("window.heard.includes('for-everyone-pushed')")

    beacon.set_rollout(100, enabled=False)
    for tab in tabs.values():
        tab.wait_state("polling")
    wait_seen(tabs, publish(beacon, "polled"))
    for name, tab in tabs.items():
        tab.page.wait_for_function("window.heard.includes('for-everyone-polled')")
        documents[name] += tab.heard() + tab.page.content() + tab.goto("/services/mail").text() + tab.goto().text()

    ways = ("rendered", "pushed", "polled")
    for name, text in documents.items():
        found = {f"for-{owner}-{way}" for owner in AUDIENCES for way in ways if f"for-{owner}-{way}" in text}
        assert found == ({f"for-{name}-{way}" for way in ways} if name in AUDIENCES else set()), name
    # The same ids are no hint either: a row's id stands in the page of nobody else.
    rows = {owner: secret_ids(beacon, audience) for owner, audience in AUDIENCES.items()}
    for owner, ids in rows.items():
        assert len(ids) == 3
        assert [event_id for event_id in ids if event_id in tabs["charlie"].change_ids()] == []
        assert set(ids) <= set(tabs[owner].change_ids())


def publish(beacon: Beacon, way: str) -> int:
    """One for each of the two, then one for everyone, which tells that the others would have come."""
    secrets = [
        {"type": "secret", "audience": audience, "data": {"word": f"for-{owner}-{way}"}}
        for owner, audience in AUDIENCES.items()
    ]
    return beacon.publish([*secrets, {"type": "public", "data": {"word": f"for-everyone-{way}"}}])[-1]


def wait_seen(tabs: dict[str, Tab], last_id: int) -> None:
    for tab in tabs.values():
        expect(tab.page.locator(f"#change-{last_id}")).to_be_visible()


def secret_ids(beacon: Beacon, audience: str) -> list[int]:
    return [row[0] for row in beacon.sql("SELECT id FROM event WHERE audience = ?", audience)]

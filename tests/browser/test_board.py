"""Many services: a filter stays true while states change, nothing moves by itself, and every figure has its label."""

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from app.eventlog.append import NewEvent
from app.infra.clock import utc_text
from tests.browser.conftest import MakeBeacon, Visit
from tests.support.beacon_server import Beacon
from tests.support.cast import publish
from tests.web.payloads import discrepancy, update
from tests.web.test_weight import fill

CUT_LABELS = """all => all.filter((one) => !one.checkVisibility() || one.scrollWidth > one.clientWidth).length"""


@pytest.fixture
def many(start_beacon: MakeBeacon) -> Beacon:
    """24 services, of which the first and the thirteenth are in discrepancy."""
    beacon = start_beacon(POLL_INTERVAL_S=3600)
    fill(beacon.app, 24)
    return beacon


def tell(beacon: Beacon, payload: dict[str, Any]) -> None:
    """As a check tells it: in the log, and in the state that the next page is made from."""
    service, status = payload["service"], payload["status"]
    payload = {**payload, "checkedAt": utc_text()}
    statement = "UPDATE service_state SET payload_json = ?, status = ? WHERE service_id = ?"
    beacon.sql(statement, json.dumps(payload), status, service)
    publish(beacon.app, NewEvent("reconciliation.update", payload))


def test_a_filter_hides_what_does_not_match_and_a_link_says_what_does_now(many: Beacon, visit: Visit) -> None:
    tab = visit(many, "alice", "/?state=discrepancy&by=worst", viewport={"width": 1280, "height": 800})
    tab.wait_state("connected")
    shown = tab.page.locator(".tile:visible h3")
    expect(shown).to_have_text(["service-0", "service-12"])
    tell(many, update("service-2", counts={"queued": 77}))
    tell(many, discrepancy("job_1", service="service-1"))
    expect(tab.page.locator("#strip-service-1")).to_be_visible()
    news = tab.page.locator("#board-news")
    expect(news).to_have_text("1 more matches: update")
    tell(many, update("service-0"))
    expect(news).to_have_text("1 more matches, 1 no longer matches: update")
    expect(shown).to_have_text(["service-0", "service-12"])
    expect(tab.tile("service-0")).to_have_attribute("data-state", "verified")
    expect(tab.page.locator("#summary")).to_contain_text("24 services: 2 in discrepancy, 22 verified")
    news.click()
    expect(shown).to_have_text(["service-1", "service-12"])
    expect(news).to_be_hidden()
    tab.page.get_by_label("Name", exact=True).fill("12")
    tab.page.get_by_role("button", name="Apply").click()
    expect(shown).to_have_text(["service-12"])
    tab.page.go_back()
    expect(shown).to_have_text(["service-1", "service-12"])


def test_one_press_makes_a_table_that_stays_and_labels_each_figure_on_a_phone_too(many: Beacon, visit: Visit) -> None:
    tab = visit(many, "alice", viewport={"width": 1280, "height": 800})
    tab.page.get_by_role("button", name="Table").click()
    expect(tab.page.get_by_role("button", name="Table")).to_have_attribute("aria-pressed", "true")
    tab.goto("/")
    tab.wait_state("connected")
    rows = tab.page.locator(".tile:visible")
    expect(rows).to_have_count(24)
    assert set(rows.evaluate_all("all => all.map((one) => one.offsetHeight)")) == {36}
    for width in (1280, 390):
        tab.page.set_viewport_size({"width": width, "height": 800})
        for row in ("service-0", "service-1"):
            tab.tile(row).scroll_into_view_if_needed()
            labels = tab.tile(row).locator("dt")
            expect(labels).to_have_count(4)
            assert labels.evaluate_all(CUT_LABELS) == 0
        assert tab.page.evaluate("document.documentElement.scrollWidth") == width

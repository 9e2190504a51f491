"""Links are plain page loads: each page goes on where its own HTML ends, so that nothing falls in between."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.browser.plain_chromium import PlainChromium, PlainTab
from tests.browser.tab import LIST_LENGTH
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled
from tests.support.waiting import wait_for

RATE_S = 0.02
MAIL = "#tile-mail-link"
DASHBOARD = ".bar nav a[href='/']"
ALL_NOTIFICATIONS = ".notices-all"
# Every row that enters the list.
WATCH = """
  window.added = [];
  document.addEventListener("DOMContentLoaded", () => {
    const list = document.getElementById("changes");
    const note = (changes) => {
      for (const { addedNodes } of changes) for (const row of addedNodes) {
        if (row.dataset?.id) window.added.push(Number(row.dataset.id));
      }
    };
    if (list) new MutationObserver(note).observe(list, { childList: true });
  });
"""


class Publisher:
    """Publishes at a steady rate while the block runs."""

    def __init__(self, beacon: Beacon) -> None:
        self.beacon = beacon
        self.ids: list[int] = []

    def publish(self) -> None:
        self.ids += self.beacon.publish([{"type": "steady", "data": {"n": len(self.ids)}}])

    @contextmanager
    def running(self) -> Iterator[None]:
        over = threading.Event()
        failed: list[Exception] = []

        def work() -> None:
            while not over.wait(RATE_S):
                try:
                    self.publish()
                except Exception as error:  # noqa: BLE001 -- told to the test below
                    failed.append(error)
                    return

        self.publish()
        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(scaled(20))
        assert not failed, failed

    def wait_more(self, tab: PlainTab, number: int = 5) -> None:
        """So many more events, and the last of them on this tab's list."""
        wanted = len(self.ids) + number
        wait_for(lambda: len(self.ids) >= wanted, f"{number} more events", within_s=60)
        if tab.run("document.getElementById('changes') !== null && location.pathname === '/'"):
            tab.wait_change(self.ids[-1])


def follow(chromium: PlainChromium, beacon: Beacon, *, windows: bool = False) -> PlainTab:
    tab = chromium.open(window=windows)
    tab.send("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
    tab.goto(beacon.url)
    tab.wait_state("connected")
    return tab


def assert_each_once(tab: PlainTab, publisher: Publisher) -> None:
    """What entered the list since this page stands: all that was published from its first on, each once."""
    ours = sorted(set(publisher.ids) & set(tab.run("window.added")))
    assert ours
    assert sorted(each for each in tab.run("window.added") if each in ours) == ours
    assert ours == [each for each in publisher.ids if each >= ours[0]]


def go_round(tab: PlainTab, publisher: Publisher) -> None:
    """Dashboard, a service, the notifications, and back twice, with events under way all the time."""
    publisher.wait_more(tab)
    tab.follow(MAIL)
    tab.wait_state("connected")
    publisher.wait_more(tab)
    tab.run("document.getElementById('bell').click()")
    tab.wait(f"document.querySelector('{ALL_NOTIFICATIONS}')?.checkVisibility()")
    tab.follow(ALL_NOTIFICATIONS)
    assert tab.run("location.pathname") == "/notifications"
    tab.wait_state("connected")
    publisher.wait_more(tab)
    for path in ("/services/mail", "/"):
        tab.back()
        tab.wait(f"location.pathname === '{path}' && document.readyState === 'complete'")
        tab.wait_state("connected")
        publisher.wait_more(tab)


def test_one_tab_that_follows_links_and_goes_back_loses_and_doubles_nothing(
    beacon: Beacon, chromium: PlainChromium
) -> None:
    chromium.log_in(beacon, "alice")
    tab = follow(chromium, beacon)
    publisher = Publisher(beacon)
    with publisher.running():
        go_round(tab, publisher)
        tab.follow(DASHBOARD)
        tab.wait_state("connected")
        publisher.wait_more(tab, LIST_LENGTH)
    tab.wait_right(beacon, "alice")
    assert_each_once(tab, publisher)
    assert tab.troubles == []


@pytest.mark.long
def test_a_leader_that_follows_links_takes_nothing_from_the_tab_beside_it(
    beacon: Beacon, chromium: PlainChromium
) -> None:
    chromium.log_in(beacon, "alice")
    tab = follow(chromium, beacon)
    other = follow(chromium, beacon, windows=True)
    tab.wait_role("leader")
    other.wait_role("follower")
    publisher = Publisher(beacon)
    with publisher.running():
        go_round(tab, publisher)
        publisher.wait_more(other)
    for each in (tab, other):
        each.wait_right(beacon, "alice")
    assert_each_once(other, publisher)
    assert publisher.ids[0] in other.run("window.added")
    assert tab.troubles + other.troubles == []

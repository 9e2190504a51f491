"""The connection and what may go wrong with it: each fault shows as what it is, and nothing is lost by it."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import FALLBACK_POLL_S, Visit
from tests.browser.fault_proxy import FaultProxy
from tests.browser.tab import Tab
from tests.support.beacon_server import Beacon

AWAY = "Failed to load resource"
PROXIED = r"request to http://127\.0\.0\.1"
DELAYS_S = (1, 2, 4, 8, 16)
CHECKER = """() => {
  window.checked = [];
  const look = () => {
    const rows = [...document.querySelectorAll("#changes > [data-id]")].reverse();  // the oldest first, as they came
    for (const row of rows) {
      if (!window.checked.includes(row.dataset.id)) window.checked.push(row.dataset.id);
    }
  };
  look();
  new MutationObserver(look).observe(document.getElementById("changes"), { childList: true });
}"""


@pytest.fixture
def proxy(beacon: Beacon) -> Iterator[FaultProxy]:
    with FaultProxy(beacon.port) as running:
        yield running


def through(visit: Visit, beacon: Beacon, proxy: FaultProxy, *, clock: bool = False) -> tuple[Tab, list[str]]:
    """A tab behind the proxy, connected, and what it says in its console."""
    tab = visit(beacon, "alice", None, allow=[AWAY, PROXIED], private=clock)
    said: list[str] = []
    tab.page.on("console", lambda message: said.append(message.text))
    if clock:
        tab.page.clock.install()
    tab.page.goto(proxy.url)
    tab.wait_state("connected")
    return tab, said


def publish(beacon: Beacon, name: str, number: int = 1) -> list[int]:
    return beacon.publish([{"type": name, "data": {"n": n}} for n in range(number)])


def pass_time(tab: Tab, said: list[str], text: str, most_s: float) -> None:
    """The page's clock runs until it has said this."""
    for _ in range(int(most_s * 2)):
        tab.page.wait_for_timeout(20)  # the network's own time
        if any(text in line for line in said):
            return
        tab.page.clock.run_for(500)
    raise AssertionError(f"never said {text!r}: {said[-20:]}")


def test_an_open_close_loop_is_tried_five_times_then_polled_around_and_a_person_can_ask_again(
    beacon: Beacon, visit: Visit, proxy: FaultProxy
) -> None:
    tab, said = through(visit, beacon, proxy, clock=True)
    said.clear()
    proxy.mode = "cut-after-hello"
    proxy.cut()
    pass_time(tab, said, "polling (exhausted)", 60)
    planned = [float(found[1]) for line in said if (found := re.search(r"next attempt in ([\d.]+) s", line))]
    for seconds, delay in zip(planned, DELAYS_S, strict=False):
        assert 0.8 * delay - 0.1 <= seconds <= 1.2 * delay + 0.1, planned
    assert 24 <= planned[5] <= 36
    assert all(re.match(r"\[SSE\] \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", line) for line in said if "[SSE]" in line)
    banner = tab.page.locator("#banner")
    expect(banner).to_contain_text("Live updates paused since")
    expect(tab.page.locator(".toast")).to_have_count(1)
    tab.wait_change(publish(beacon, "while.polling")[0])
    attempts = tab.asked_for("/api/stream/events")
    said.clear()
    pass_time(tab, said, "next attempt in", 60)  # one in the background has failed, and none is under way
    assert tab.asked_for("/api/stream/events") > attempts
    tab.wait_state("polling")
    expect(tab.page.locator(".toast")).to_have_count(0)  # said once, and gone by now
    proxy.mode = "pass"
    banner.get_by_role("button", name="Reconnect").click()
    tab.wait_state("connected")
    expect(banner).to_be_hidden()
    tab.wait_change(publish(beacon, "streamed.again")[0])
    tab.wait_right()


def test_a_stream_that_opens_and_says_nothing_or_falls_silent_is_a_failure(
    beacon: Beacon, visit: Visit, proxy: FaultProxy
) -> None:
    tab, said = through(visit, beacon, proxy, clock=True)
    proxy.mode = "hold"  # half open: nothing comes, nothing ends
    missed = publish(beacon, "into.the.void")[0]
    tab.page.clock.run_for(31_000)
    pass_time(tab, said, "stream: silence", 5)
    tab.wait_change(missed)  # by the poll that goes with the failure
    said.clear()
    proxy.mode = "say-nothing"
    pass_time(tab, said, "opening the stream", 60)
    tab.page.clock.run_for(10_500)
    pass_time(tab, said, "stream: no-hello", 20)
    tab.page.locator("#connection button").click()
    detail = tab.page.locator("#connection-detail")
    expect(detail).to_contain_text("opened but stays silent")
    expect(detail.locator("[data-part=next]")).to_have_text(re.compile(r"^(in \d+ s|now)$"))
    said.clear()
    proxy.mode = "login-page"
    detail.get_by_role("button", name="Reconnect").click()
    pass_time(tab, said, "200 wrong-type", 3)
    expect(detail.locator("[data-part=error-list] li").first).to_contain_text("wrong-type")
    proxy.mode = "pass"
    detail.get_by_role("button", name="Reconnect").click()
    tab.wait_state("connected")
    expect(detail).to_contain_text("Live stream, for all tabs of this browser")
    tab.wait_right()


def test_five_hundred_events_during_an_outage_are_each_seen_once_and_the_list_is_the_newest_fifty(
    beacon: Beacon, visit: Visit, proxy: FaultProxy
) -> None:
    tab, _ = through(visit, beacon, proxy)
    tab.page.evaluate(CHECKER)
    before = set(tab.change_ids())
    proxy.mode = "cut-after-hello"
    proxy.cut()
    tab.go_offline()
    ids = publish(beacon, "outage", 500)
    proxy.mode = "pass"
    tab.page.context.set_offline(False)
    tab.wait_state("connected")
    tab.wait_change(ids[-1])
    tab.wait_right()
    seen = [int(each) for each in tab.page.evaluate("window.checked")]
    assert [each for each in seen if each not in before and each >= ids[0]] == ids
    assert tab.change_ids() == ids[:-51:-1]


def test_an_event_that_cannot_be_shown_costs_nothing_but_a_load_and_a_second_one_says_so(
    beacon: Beacon, visit: Visit, proxy: FaultProxy
) -> None:
    tab, said = through(visit, beacon, proxy)
    tab.trouble.allowed = [*tab.trouble.allowed, "."]  # htmx itself complains in the console
    tab.mark()
    opened = tab.asked_for("/api/stream/events")
    proxy.swap = (b'hx-target="#changes"', b'hx-target=":~changes"')
    poisoned = publish(beacon, "poison")[0]
    tab.wait_change(poisoned)  # with the page's regions
    expect(tab.badge).to_have_text("Connected")
    poisoned = publish(beacon, "poison")[0]
    tab.wait_change(poisoned)
    expect(tab.badge).to_have_text("Display error")
    proxy.swap = None
    tab.wait_change(publish(beacon, "wholesome")[0])
    tab.wait_right()
    assert tab.asked_for("/api/stream/events") == opened, said
    assert tab.asked_for("/audit/client-error") >= 1
    assert not tab.was_reloaded


def test_a_pause_holds_the_page_and_nothing_else_and_resuming_shows_all_of_it(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice")
    tab.wait_state("connected")
    other = tab.beside()
    other.wait_state("connected")
    tab.page.locator("#connection button").click()
    detail = tab.page.locator("#connection-detail")
    detail.get_by_role("button", name="Pause").click()
    expect(tab.badge).to_have_text("Paused")
    listed = tab.change_ids()
    ids = publish(beacon, "while.paused", 5)
    other.wait_change(ids[-1])  # the pause is the tab's own, even where it holds the stream
    expect(detail.locator("[data-part=last]")).to_contain_text("s ago")
    assert tab.change_ids() == listed
    detail.get_by_role("button", name="Resume").click()
    tab.wait_change(ids[-1])
    tab.wait_right()
    detail.get_by_role("button", name="Pause").click()
    publish(beacon, "too.much", 600)
    other.wait_right()
    asked = tab.asked_for("/")
    detail.get_by_role("button", name="Resume").click()
    tab.wait_right()
    assert tab.asked_for("/") == asked + 1  # loaded again instead of 600 swaps


def test_a_new_build_is_announced_and_taken_when_nobody_looks(beacon: Beacon, visit: Visit, proxy: FaultProxy) -> None:
    tab, _ = through(visit, beacon, proxy)
    build = tab.page.locator("body").get_attribute("data-build") or ""
    proxy.swap = (build.encode(), build[:-2].encode() + b"zz")
    proxy.cut()
    banner = tab.page.locator("#banner")
    expect(banner).to_contain_text("Beacon was updated")
    with tab.page.expect_navigation():
        tab.page.evaluate(
            """() => setTimeout(() => {
              Object.defineProperty(document, "visibilityState", { configurable: true, get: () => "hidden" });
              document.dispatchEvent(new Event("visibilitychange"));
            })"""
        )
    tab.wait_state("connected")


def test_a_browser_that_cannot_read_streams_gets_a_plain_page(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", None, private=True)
    tab.page.add_init_script("delete Response.prototype.body")
    tab.goto()
    expect(tab.badge).to_have_text("Not live")
    tab.page.wait_for_timeout(3 * FALLBACK_POLL_S * 1000)
    assert tab.asked_for("/api/stream/events") + tab.asked_for("/api/events/frames") == 0
    expect(tab.page.get_by_role("link", name="Refresh every 10 s")).to_be_visible()


def test_going_back_out_of_the_browsers_cache_or_awake_again_shows_what_was_missed(
    beacon: Beacon, visit: Visit, proxy: FaultProxy
) -> None:
    tab, said = through(visit, beacon, proxy, clock=True)
    tab.page.goto(f"{proxy.url}/login?next=/services/nobody")  # another page, and events meanwhile
    missed = publish(beacon, "while.away", 3)[-1]
    tab.page.go_back()
    tab.wait_state("connected")
    tab.wait_change(missed)
    tab.wait_right()
    proxy.mode = "hold"
    missed = publish(beacon, "while.asleep", 3)[-1]
    proxy.mode = "hold"
    said.clear()
    tab.page.clock.fast_forward(3_600_000)  # the lid was closed for an hour
    tab.wait_change(missed)
    tab.wait_right()

"""Every region says how fresh it is, and ages go on when nobody answers any more."""

import re
from datetime import datetime

from playwright.sync_api import expect

from tests.browser.conftest import MakeBeacon, StartService, Visit
from tests.browser.tab import Tab
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService
from tests.support.waiting import wait_for

AWAY = ["Failed to load resource", "net::ERR"]
# Longer than it takes until a page calls Beacon silent (freshness.js): a heartbeat and five seconds.
UNTIL_SILENT_MS = 7_000
REGIONS = """() => Object.fromEntries([...document.querySelectorAll("[data-region]:not(#flashes)")]
  .map(({ dataset }) => [dataset.region, [dataset.isStale, dataset.lastUpdatedAt]]))"""


def test_each_region_says_when_it_was_updated_and_that_it_is_not_stale(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice")
    tab.wait_state("connected")
    tab.page.wait_for_function(f"() => Object.values(({REGIONS})()).every(([stale]) => stale === 'false')")
    first = tab.page.evaluate(REGIONS)
    assert set(first) == {"strip", "tiles", "changes"}
    tab.wait_change(beacon.publish([{"type": "test.fresh", "data": {}}])[0])
    tab.page.wait_for_function(f"(before) => ({REGIONS})().changes[1] !== before", arg=first["changes"][1])
    before, after = (
        datetime.fromisoformat(at) for at in (first["changes"][1], tab.page.evaluate(REGIONS)["changes"][1])
    )
    assert after > before


def with_clock(visit: Visit, beacon: Beacon) -> Tab:
    """A page whose clock runs ahead; in test_outages.py another one waits in real time until it calls Beacon silent."""
    tab = visit(beacon, "alice", None, allow=AWAY, private=True)
    tab.page.clock.install()
    tab.goto()
    return tab


def test_without_a_server_the_page_says_so_of_beacon_and_nothing_new_of_the_services(
    start_beacon: MakeBeacon, service: DemoService, visit: Visit
) -> None:
    beacon = start_beacon(POLL_INTERVAL_S=1, FALLBACK_POLL_S=0.3)
    beacon.watch("mail", service.url, "Mail")
    wait_for(
        lambda: beacon.sql("SELECT count(*) FROM service_state WHERE status = 'verified'")[0][0], "Mail to be verified"
    )
    tab = with_clock(visit, beacon)
    tab.wait_state("connected")
    expect(tab.tile("mail")).to_have_attribute("data-state", "verified")
    beacon.kill()
    tab.page.clock.run_for(UNTIL_SILENT_MS)
    tile, summary = tab.tile("mail"), tab.page.locator("#summary")
    expect(summary).to_contain_text("No news from Beacon since")
    expect(summary).to_contain_text("Until then: 1 service verified")
    expect(summary).not_to_contain_text("stale")
    expect(tile.locator(".tile-unheard")).to_contain_text("no news from Beacon since")
    expect(tile.locator(".tile-age")).to_be_hidden()
    expect(tile.locator(".tile-now")).to_be_visible()
    expect(tile).not_to_have_attribute("data-aged", "")
    expect(tab.page.locator("#banner")).to_contain_text("since")
    expect(tab.page.locator("[data-region=tiles]")).to_have_attribute("data-is-stale", "true")
    assert tab.page.title().startswith("◌")


def test_a_service_is_not_said_to_be_silent_for_longer_than_beacon_was_heard(
    start_beacon: MakeBeacon, start_service: StartService, visit: Visit
) -> None:
    beacon, gone = start_beacon(POLL_INTERVAL_S=1, FALLBACK_POLL_S=0.3), start_service()
    beacon.watch("mail", gone.url, "Mail")
    wait_for(
        lambda: beacon.sql("SELECT count(*) FROM service_state WHERE status = 'verified'")[0][0], "Mail to be verified"
    )
    gone.stop()
    tab = with_clock(visit, beacon)
    lasting = tab.page.locator("#tile-mail time[data-lasting]")
    expect(lasting).to_have_text(re.compile(r"^for \d+ s$"))
    beacon.kill()
    tab.page.clock.run_for(UNTIL_SILENT_MS)
    expect(tab.page.locator("#summary")).to_contain_text("No news from Beacon since")
    said, age = lasting.inner_text(), tab.page.locator("#strip-mail time[data-age]:visible")
    ages = {age.inner_text()}
    for _ in range(3):
        tab.page.clock.run_for(1_000)
        wait_for(lambda: age.inner_text() not in ages, "another age")
        ages.add(age.inner_text())
    assert lasting.inner_text() == said


def test_a_poller_that_stands_still_ages_what_it_checked_wherever_it_is_shown(
    start_beacon: MakeBeacon, service: DemoService, visit: Visit
) -> None:
    beacon = start_beacon(POLL_INTERVAL_S=1)
    beacon.watch("mail", service.url, "Mail")
    tab = visit(beacon, "alice")
    tab.wait_state("connected")
    expect(tab.tile("mail")).to_have_attribute("data-state", "verified")
    # Another process holds the lease and polls nothing, as one that was frozen does.
    beacon.sql("UPDATE lease SET holder = 'frozen', fence = fence + 1, expires_at = expires_at + 1000000")
    tile, row = tab.tile("mail"), tab.page.locator("#strip-mail")
    expect(tile).to_have_attribute("data-aged", "")
    expect(tile.locator(".tile-aged")).to_be_visible()
    expect(tile.locator("[data-figure=queued] dd span")).to_be_hidden()  # a dash instead of the number
    expect(row).to_contain_text("not checked in time")
    expect(row.locator(".state.when-aged")).to_be_visible()
    expect(tab.page.locator("#summary")).to_contain_text("1 stale")
    assert tab.page.title().startswith("● 1 wrong")

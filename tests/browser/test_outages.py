"""What a page shows while something is away, and that nothing is lost or doubled when it is back."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Request, expect

from tests.browser.conftest import POLL_S, MakeBeacon, Visit
from tests.browser.fault_proxy import FaultProxy
from tests.browser.tab import Tab
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService
from tests.support.machine import ROOM_S, scaled
from tests.support.waiting import wait_for

POLL = "/api/events/frames"
AWAY = r"Failed to load resource"  # what Chromium itself says of every request that fails

PROXIED = r"request to http://127\.0\.0\.1"


def publish(beacon: Beacon, name: str, number: int) -> list[int]:
    return beacon.publish([{"type": name, "data": {"n": n}} for n in range(number)])


def insert_by_hand(beacon: Beacon, name: str, number: int) -> None:
    """Another program writes while no Beacon runs."""
    with closing(sqlite3.connect(beacon.database, timeout=scaled(10))) as outsider, outsider:
        outsider.executemany("INSERT INTO event (type, data_json) VALUES (?, '{}')", [(name,)] * number)
    outsider.close()


def test_a_killed_server_shows_as_reconnecting_and_after_its_restart_no_row_is_lost_or_doubled(
    start_beacon: MakeBeacon, visit: Visit
) -> None:
    beacon = start_beacon(FALLBACK_POLL_S=0.5)
    publish(beacon, "before.crash", 30)
    tab = visit(beacon, "alice", allow=[AWAY])
    tab.wait_state("connected")
    tab.mark()
    tab.wait_change(publish(beacon, "just.before", 1)[0])
    beacon.kill()
    tab.wait_state("reconnecting")
    expect(tab.badge).to_have_text("Reconnecting")
    insert_by_hand(beacon, "while.down", 700)  # more than one polled answer holds
    beacon.start()
    tab.wait_state("connected")
    tab.wait_right()
    publish(beacon, "after.restart", 3)
    tab.wait_right()
    expect(tab.badge).to_have_text("Connected")
    assert not tab.was_reloaded


def test_a_server_that_stays_away_shows_as_offline_and_is_found_again(start_beacon: MakeBeacon, visit: Visit) -> None:
    beacon = start_beacon(FALLBACK_POLL_S=1)
    tab = visit(beacon, "alice", None, allow=[AWAY], private=True)
    tab.page.clock.install()  # so that five attempts with growing pauses take no half minute
    tab.goto()
    tab.wait_state("connected")
    tab.mark()
    beacon.kill()
    tab.wait_state("reconnecting")
    insert_by_hand(beacon, "while.down", 5)
    for _ in range(20):
        tab.page.clock.run_for(5_000)
        if tab.page.locator("html").get_attribute("data-connection") != "reconnecting":
            break
    tab.wait_state("offline")
    expect(tab.badge).to_have_text("Offline")
    assert tab.page.title().startswith("◌ offline")
    beacon.start()
    tab.wait_state("connected")
    tab.wait_right()
    tab.wait_change(publish(beacon, "after.restart", 1)[0])  # by then the last poll has been counted
    polls = tab.asked_for(POLL)
    tab.page.clock.run_for(5_000)
    tab.wait_change(publish(beacon, "after.restart", 1)[0])
    assert tab.asked_for(POLL) == polls, "it polls beside its stream"
    assert not tab.page.title().startswith("◌")
    assert not tab.was_reloaded


@pytest.mark.parametrize("state", ["offline", pytest.param("polling", marks=pytest.mark.long)])
def test_a_restarted_server_is_back_on_the_stream_within_the_polling_interval_and_two_seconds(
    start_beacon: MakeBeacon, visit: Visit, state: str
) -> None:
    fallback_s = 1.0
    beacon = start_beacon(FALLBACK_POLL_S=fallback_s)
    with FaultProxy(beacon.port) as proxy:
        tab = visit(beacon, "alice", None, allow=[AWAY, PROXIED], private=True)
        tab.page.clock.install()
        tab.page.goto(proxy.url)
        tab.wait_state("connected")
        proxy.mode = "cut-after-hello"
        proxy.cut()
        run_until(tab, "polling")
        if state == "offline":
            beacon.kill()
            run_until(tab, "offline")
            expect(tab.badge).to_have_attribute("title", "The server cannot be reached; trying on.")
        else:
            expect(tab.badge).to_have_attribute("title", re.compile("cannot be had"))
            # What is back before anybody asks was never away; an attempt at the stream may still fail meanwhile.
            with tab.page.expect_event("requestfailed", is_failed_poll):
                beacon.kill()
        insert_by_hand(beacon, "while.down", 3)
        proxy.mode = "pass"
        beacon.start()
        ready = time.monotonic()
        tab.wait_state("connected")
        assert time.monotonic() - ready <= scaled(fallback_s + 2 + ROOM_S)
        tab.wait_right()
        expect(tab.page.locator("#banner")).to_be_hidden()


def is_failed_poll(request: Request) -> bool:
    """Not one that the page let go of, as when an attempt at the stream began well meanwhile."""
    return urlsplit(request.url).path == POLL and request.failure != "net::ERR_ABORTED"


def run_until(tab: Tab, state: str) -> None:
    """The page's clock runs until it has tried and waited enough."""
    for _ in range(60):
        tab.page.wait_for_timeout(50)  # the network's own time
        if tab.page.locator("html").get_attribute("data-connection") == state:
            return
        tab.page.clock.run_for(1_000)
    raise AssertionError(f"never {state}")


def test_without_a_network_the_page_is_offline_at_once_says_so_and_is_right_within_a_second_of_its_return(
    beacon: Beacon, visit: Visit
) -> None:
    tab = visit(beacon, "alice", allow=[AWAY])
    tab.wait_state("connected")
    tab.go_offline()
    tab.wait_state("offline", within_s=2)
    expect(tab.badge).to_have_attribute("title", "This computer has no network. What you see is from before.")
    expect(tab.page.locator("#banner")).to_contain_text("This computer has no network")
    ids = publish(beacon, "while.offline", 60)
    asked = len(tab.asked)
    tab.page.context.set_offline(False)
    back = time.monotonic()
    tab.wait_change(ids[-1])
    tab.wait_state("connected")
    assert time.monotonic() - back < scaled(1 + ROOM_S)
    tab.wait_right()
    assert not [url for url in tab.asked[asked:] if POLL in url], "the stream alone brings it all"


@pytest.mark.parametrize("streaming", [100, pytest.param(0, marks=pytest.mark.long)])
def test_a_page_whose_cursor_was_pruned_away_loads_its_regions_again_and_is_right(
    start_beacon: MakeBeacon, service: DemoService, visit: Visit, streaming: int
) -> None:
    state = "connected" if streaming else "polling"
    beacon = start_beacon(streaming=streaming, FALLBACK_POLL_S=0.5, POLL_INTERVAL_S=POLL_S)
    beacon.watch("mail", service.url, "Mail")
    tab = visit(beacon, "alice", allow=[AWAY])  # a part that comes a second after the page may be missed
    tab.wait_state(state)
    expect(tab.tile("mail")).to_have_attribute("data-state", "verified")
    tab.wait_change(publish(beacon, "before.offline", 3)[-1])
    tab.mark()
    tab.go_offline()
    tab.wait_state("offline")
    service.create_job(state="failed")  # its event falls to the pruning, so that only a whole tile can tell of it
    failed = "SELECT count(*) FROM event WHERE type = 'reconciliation.update' AND data_json LIKE '%\"failed\":{}%'"
    number = service.counts()["counts"]["failed"]
    wait_for(lambda: beacon.sql(failed.format(number))[0][0], "the poll that sees the failed job")
    ids = publish(beacon, "while.offline", 30)
    beacon.sql("DELETE FROM event WHERE id <= ?", ids[19])
    tab.page.context.set_offline(False)
    tab.wait_state(state)
    tab.wait_right()
    assert tab.change_ids()[-10:] == ids[:19:-1]
    expect(tab.figure("mail", "failed")).to_have_text(str(number))
    expect(tab.page.locator("#changes")).not_to_contain_text("before.offline")
    tab.wait_change(publish(beacon, "after.reset", 1)[0])
    tab.wait_right()
    assert not tab.was_reloaded


@contextmanager
def database_away(beacon: Beacon) -> Iterator[None]:
    parts = [beacon.folder / f"beacon.db{suffix}" for suffix in ("", "-wal", "-shm")]
    away = beacon.folder / "away"
    away.mkdir()
    for part in parts:
        part.rename(away / part.name)
    try:
        yield
    finally:
        for part in parts:
            (away / part.name).rename(part)


def test_with_the_database_away_the_page_stands_claims_nothing_fresh_and_recovers_by_itself(
    start_beacon: MakeBeacon, service: DemoService, visit: Visit
) -> None:
    beacon = start_beacon(POLL_INTERVAL_S=POLL_S)
    beacon.watch("mail", service.url, "Mail")
    tab = visit(beacon, "alice", allow=[AWAY])
    tile = tab.tile("mail")
    expect(tile).to_have_attribute("data-state", "verified")
    tab.wait_state("connected")
    tab.mark()
    with database_away(beacon):
        expect(tab.badge).to_have_text("Database away")
        expect(tab.page.locator("#summary")).to_contain_text("No news from Beacon since")
        expect(tile.locator(".tile-unheard")).to_contain_text("no news from Beacon since")
        expect(tile.locator(".tile-age")).to_be_hidden()
        expect(tile).not_to_have_attribute("data-aged", "")  # it is not the service that is silent
        other = tab.beside()
        expect(other.page.locator("main")).to_contain_text("cannot reach its database")
        other.page.close()
    expect(tab.badge).to_have_text("Connected")
    # A service with another address is polled at once; how polls that fail back off is in tests/sources.
    beacon.sql("UPDATE service SET url = url || '/' WHERE id = 'mail'")
    expect(tab.page.locator("#summary")).to_contain_text("1 service verified")
    expect(tile.locator(".tile-unheard")).to_be_hidden()
    expect(tile.locator(".tile-now")).to_have_text("Verified")
    tab.wait_change(publish(beacon, "back.again", 1)[0])
    tab.wait_right()
    assert not tab.was_reloaded

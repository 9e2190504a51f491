"""What happens is on the screen, at once and without a reload."""

import time

from playwright.sync_api import expect

from tests.browser.conftest import FALLBACK_POLL_S, POLL_S, Visit
from tests.browser.tab import LIST_LENGTH
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService
from tests.support.machine import scaled
from tests.support.waiting import wait_for

SHOWN_WITHIN_S = 2.0  # a second is promised; the rest is room
PEOPLE_THERE = ("alice", "bob", "charlie")


def test_a_job_that_fails_shows_on_its_tile_and_in_the_list_within_a_poll_and_a_second(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    service.create_jobs(*[{"id": f"job-{n}", "state": "running"} for n in range(5)])
    tab = visit(beacon, "alice")
    expect(tab.figure("mail", "running")).to_have_text("5")
    expect(tab.figure("mail", "failed")).to_have_text("0")
    tab.wait_state("connected")
    tab.mark()
    before = tab.change_ids()
    service.move("job-3", "failed")
    moved = time.monotonic()
    expect(tab.figure("mail", "failed")).to_have_text("1")
    new = tab.page.locator("#changes > [data-id]").first
    expect(new).to_contain_text("new cause: 1 Error in mail.send")
    assert time.monotonic() - moved < scaled(POLL_S * 1.1 + SHOWN_WITHIN_S)  # 1.1: the jitter of the interval
    assert len(set(tab.change_ids()) - set(before)) == 1
    assert not tab.was_reloaded


def test_three_people_on_three_browsers_see_a_published_event_within_a_second(beacon: Beacon, visit: Visit) -> None:
    tabs = [visit(beacon, name) for name in PEOPLE_THERE]
    for tab in tabs:
        tab.wait_state("connected")
        tab.note_arrivals()
    [event_id] = beacon.publish([{"type": "deploy.done", "data": {"version": "1.2.3"}}])
    published = time.time()
    took = {tab.user: tab.arrived(event_id) - published for tab in tabs}
    assert max(took.values()) < scaled(SHOWN_WITHIN_S), took
    for tab in tabs:
        expect(tab.page.locator(f"#change-{event_id}")).to_contain_text("version 1.2.3")


def test_a_connected_page_sends_not_one_polling_request(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice")
    tab.wait_state("connected")
    asked = len(tab.asked)
    until = time.monotonic() + 6 * FALLBACK_POLL_S  # in which a page that polls would ask six times
    while time.monotonic() < until:
        tab.wait_change(beacon.publish([{"type": "tick", "data": {}}])[0])
    expect(tab.badge).to_have_text("Connected")
    assert tab.asked_for("/api/events/frames") == 0
    assert tab.asked_for("/api/stream/events") == 1
    assert tab.asked_since(asked) == []


def test_a_check_that_changed_nothing_makes_the_age_young_again_and_lists_nothing(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    tab = visit(beacon, "alice")
    expect(tab.tile("mail")).to_have_attribute("data-state", "verified")
    checked = tab.page.locator("#check-mail time")
    listed = tab.change_ids()
    moments = set()
    for _ in range(3):
        moments.add(checked.get_attribute("datetime"))
        wait_for(lambda: checked.get_attribute("datetime") not in moments, "another check")
    expect(tab.page.locator(".summary-oldest")).to_contain_text("s ago")
    assert tab.change_ids() == listed


def test_the_list_stays_at_its_length_and_pushes_and_first_render_agree(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice")
    tab.wait_state("connected")
    for batch in range(4):
        beacon.publish([{"type": "batch", "data": {"batch": batch, "n": n}} for n in range(40)])
    tab.wait_right()
    assert len(tab.change_ids()) == LIST_LENGTH
    pushed = tab.page.locator("#changes").inner_text()
    tab.goto()
    tab.wait_state("connected")
    tab.wait_right()
    assert tab.page.locator("#changes").inner_text() == pushed

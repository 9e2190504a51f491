"""The page of a service in a browser: it follows the stream, asks for stuck jobs by itself, works without scripts."""

import json
import re
from itertools import count

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.test_axe import AXE, FEW_ROWS, serious
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService
from tests.support.waiting import wait_for

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


LOST = 200
SHOWN = 100
STUCK = {"id": "stuck-for-long", "state": "running", "ageS": 86_400}
NUMBERS = count()


@pytest.fixture
def troubled(beacon: Beacon, service: DemoService) -> Beacon:
    """Two hundred jobs are lost, whatever the test before this one accepted, and one is stuck."""
    make_trouble(beacon, service)
    return beacon


def make_trouble(beacon: Beacon, service: DemoService) -> None:
    missing = LOST - open_items(beacon)
    if missing:
        ids = [f"a-job-with-a-long-name-{next(NUMBERS):04}" for _ in range(missing)]
        # The stuck one is finished meanwhile: only what is not can be lost.
        service.create_jobs(STUCK | {"state": "succeeded"}, *[{"id": each, "state": "queued"} for each in ids])
        known = "SELECT count(*) FROM known_job WHERE job_id IN (SELECT value FROM json_each(?))"
        wait_for(lambda: beacon.sql(known, json.dumps(ids))[0][0] == missing, "the jobs to be known")
        service.lose(missing)
        wait_for(lambda: open_items(beacon) == LOST, "the loss to be noticed", within_s=20)
        service.create_jobs(STUCK)


def open_items(beacon: Beacon) -> int:
    return int(beacon.sql("SELECT count(*) FROM open_item WHERE closed_at IS NULL")[0][0])


def test_stuck_jobs_come_by_themselves_and_again_when_asked(troubled: Beacon, visit: Visit) -> None:
    tab = visit(troubled, "alice", "/services/mail")
    stuck = tab.page.locator("#stuck")
    expect(stuck.locator("code[title=stuck-for-long]")).to_be_visible()
    expect(stuck.locator("[data-age]").last).to_contain_text("ago")
    with tab.page.expect_response("**/services/mail/stuck") as answer:
        tab.page.get_by_role("link", name="Ask again").click()
    assert answer.value.status == 200
    assert tab.page.url.endswith("/services/mail")


def test_two_hundred_lost_jobs_are_counted_shown_as_far_as_they_fit_and_both_sides_named(
    troubled: Beacon, visit: Visit
) -> None:
    tab = visit(troubled, "alice", "/services/mail")
    sides = tab.page.locator("#open-items .sides:visible")
    expect(sides).to_contain_text("Mail reports")
    expect(sides).to_contain_text("200 missing")
    assert tab.page.locator("#open-items input[name=jobIds]").count() == SHOWN
    expect(tab.page.locator("#open-items .scope")).to_contain_text("The first 100 of 200 open differences.")
    expect(tab.page.get_by_role("button", name="Accept all 200")).to_be_disabled()


def test_the_graph_says_its_sentence_and_its_span_is_a_link(troubled: Beacon, visit: Visit) -> None:
    page = visit(troubled, "alice", "/services/mail", java_script_enabled=False).page
    sentence = page.locator(".history-words").inner_text()
    assert "checks answered in the last hour" in sentence
    assert page.locator(".graph > title").text_content() == sentence
    page.get_by_role("link", name="Last day").click()
    assert page.url.endswith("/services/mail?history=day")
    assert "in the last day" in page.locator(".history-words").inner_text()
    page.get_by_role("link", name="Ask it").click()
    expect(page.locator("code[title=stuck-for-long]")).to_be_visible()
    page.get_by_role("link", name="Back to Mail").click()
    assert page.url.endswith("/services/mail")


def test_axe_finds_nothing_and_a_phone_shows_all_of_it(troubled: Beacon, visit: Visit) -> None:
    tab = visit(troubled, "bob", "/services/mail", bypass_csp=True, **PHONE)
    tab.wait_state("connected")
    expect(tab.page.locator("#stuck .scope")).to_be_visible()
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 360
    tab.page.evaluate(FEW_ROWS, "#open-items li:has(input[name=jobIds]), #open-items tr:has(input[name=jobIds])")
    tab.page.add_script_tag(content=AXE)
    assert serious(tab.page) == []


def test_one_job_is_accepted_by_the_keyboard_and_one_without_scripts(troubled: Beacon, visit: Visit) -> None:
    boxes, reason = "input[name=jobIds]", "Reason for accepting"
    page = visit(troubled, "bob", "/services/mail").page
    page.locator(boxes).first.focus()
    page.keyboard.press("Space")
    assert page.locator(f"{boxes}:checked").count() == 1
    page.get_by_label(reason).focus()
    page.keyboard.type("checked by hand")
    page.keyboard.press("Enter")
    expect(page.locator("#open-items .scope")).to_contain_text("The first 100 of 199")
    page = visit(troubled, "bob", "/services/mail", java_script_enabled=False).page
    page.locator(boxes).first.check()
    page.get_by_label(reason).fill("checked by hand")
    page.get_by_role("button", name="Accept the service's version").click()
    expect(page.locator("#open-items .scope")).to_contain_text("The first 100 of 198")
    accepted = "SELECT count(*) FROM open_item WHERE closed_by = 'bob' AND close_reason = 'checked by hand'"
    assert troubled.sql(accepted)[0][0] == 2


def test_accepting_all_closes_what_was_never_shown(beacon: Beacon, service: DemoService, visit: Visit) -> None:
    if open_items(beacon) <= SHOWN:
        make_trouble(beacon, service)
    watcher, operator = visit(beacon, "alice", "/services/mail"), visit(beacon, "bob", "/services/mail")
    watcher.wait_state("connected")
    watcher.mark()
    operator.page.get_by_label(re.compile(r"Reason to accept all \d+")).fill("the queue was moved")
    operator.page.get_by_role("button", name=re.compile("Accept all")).click()
    expect(operator.page.locator("#open-items")).to_contain_text("No open differences")
    expect(watcher.page.locator("#open-items")).to_contain_text("No open differences")
    assert not watcher.was_reloaded


@pytest.mark.long
def test_the_footer_counts_the_open_streams_of_everybody(troubled: Beacon, visit: Visit) -> None:
    for user in ("alice", "charlie"):
        visit(troubled, user, "/services/mail").wait_state("connected")
    page = visit(troubled, "bob", "/", java_script_enabled=False).page

    def look() -> bool:
        page.reload()
        return "2 open streams" in page.locator("#cost").inner_text()

    wait_for(look, "the workers to have told of two streams", every_s=0.3)
    assert ": 0 polls" not in page.locator("#cost").inner_text()

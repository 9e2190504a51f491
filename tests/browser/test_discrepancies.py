"""The page of discrepancies in a browser: rows that come in while one reads, the keyboard, a phone, no scripts."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.infra.clock import parse_utc
from tests.browser.conftest import Visit
from tests.browser.test_axe import AXE, serious
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService
from tests.support.machine import ROOM_S, scaled
from tests.support.waiting import wait_for
from tests.web.record_scene import at, happened, item, put

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def record(beacon: Beacon) -> Beacon:
    """Ninety rows from before, of the service that the module watches."""
    rows = [happened("mail", "discrepancy", at(n % 60, n // 60), [f"old-job-{n:04}"]) for n in range(90)]
    put(beacon.app, *rows, item("mail", "old-unaccounted", "unaccounted", at(5)))
    wait_for(lambda: beacon.sql("SELECT count(*) FROM service_state WHERE status = 'verified'")[0][0], "the first look")
    return beacon


def first_rows(page: Page) -> list[str]:
    page.wait_for_load_state("domcontentloaded")  # a click ends when the next page begins
    found: list[str] = page.locator("#record [data-row]").evaluate_all("all => all.map((row) => row.dataset.row)")
    return found


def test_a_discrepancy_enters_by_itself_and_closes_by_itself(
    record: Beacon, service: DemoService, visit: Visit
) -> None:
    service.create_jobs(*[{"state": "queued"} for _ in range(3)])
    tab = visit(record, "alice", "/discrepancies?service=mail")
    tab.wait_state("connected")
    tab.mark()
    wait_for(lambda: record.sql("SELECT count(*) FROM known_job")[0][0] >= 3, "the jobs to be known")
    [lost] = service.lose(1)
    row = tab.page.locator("#record tr[data-open]", has=tab.page.locator(f"code[title='{lost}']"))
    expect(row).to_be_visible()
    expect(row).to_contain_text("Open")
    operator = visit(record, "bob", "/services/mail")
    operator.page.locator(f"#open-items input[value='{lost}']").check()
    operator.page.get_by_label("Reason for accepting").fill("a test closes it")
    operator.page.get_by_role("button", name="Accept the service's version").click()
    closed = tab.page.locator("#record tr:not([data-open])", has=tab.page.locator(f"code[title='{lost}']"))
    expect(closed).to_contain_text(re.compile(r"\d accepted by bob: a test closes it"))
    assert not tab.was_reloaded


# When each job's id was first seen among what is wrong.
WATCH_IDS = """() => {
  window.seenAt = {};
  new MutationObserver(() => {
    const ids = document.querySelectorAll("#record code[title], #open-items code[title]");
    for (const id of ids) seenAt[id.title] ??= Date.now();
  }).observe(document.body, { childList: true, subtree: true });
}"""


def is_known(beacon: Beacon, job_id: str) -> bool:
    return bool(beacon.sql("SELECT count(*) FROM known_job WHERE job_id = ?", job_id)[0][0])


def test_both_open_pages_show_a_discrepancy_within_a_second_of_its_event(
    record: Beacon, service: DemoService, visit: Visit
) -> None:
    service.create_jobs(*[{"state": "queued"} for _ in range(5)])
    tabs = [visit(record, "alice", path) for path in ("/discrepancies?service=mail", "/services/mail")]
    for tab in tabs:
        tab.wait_state("connected")
        tab.page.evaluate(WATCH_IDS)
    [created] = service.create_jobs({"state": "queued"})
    wait_for(lambda: is_known(record, created["id"]), "the job to be known")
    [lost] = service.lose(1)
    for tab in tabs:
        tab.page.wait_for_function("id => seenAt[id]", arg=lost)
    event = "SELECT min(created_at) FROM event WHERE type = 'reconciliation.update' AND data_json LIKE ?"
    published = parse_utc(record.sql(event, f"%{lost}%")[0][0]).timestamp()
    late = [tab.page.evaluate("id => seenAt[id]", lost) / 1_000 - published for tab in tabs]
    assert max(late) < scaled(1 + ROOM_S), late


def test_the_keyboard_searches_and_leads_from_row_to_row(record: Beacon, visit: Visit) -> None:
    tab = visit(record, "alice", "/discrepancies")
    tab.wait_state("connected")
    page = tab.page
    page.keyboard.press("f")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("id:old-job-0001")
    page.keyboard.press("Enter")
    page.wait_for_url("**/discrepancies?q=id%3Aold-job-0001*")
    tab.wait_state("connected")
    assert len(first_rows(page)) == 1
    page.get_by_role("link", name="Service", exact=True).focus()
    page.keyboard.press("Tab")
    expect(page.locator("#record [data-row] a")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/services/mail")


def test_rows_wait_behind_a_number_while_somebody_reads(record: Beacon, service: DemoService, visit: Visit) -> None:
    service.create_jobs(*[{"state": "queued"} for _ in range(3)])
    tab = visit(record, "alice", "/discrepancies")
    tab.wait_state("connected")
    known = "SELECT count(*) FROM known_job"
    before = record.sql(known)[0][0]
    wait_for(lambda: record.sql(known)[0][0] >= max(3, before), "the jobs to be known")
    shown = first_rows(tab.page)
    tab.page.mouse.wheel(0, 900)
    wait_for(lambda: tab.page.evaluate("scrollY") > 400, "the page to be scrolled")
    [lost] = service.lose(1)
    link, named = tab.page.locator("#record-new"), tab.page.locator(f"#record code[title='{lost}']")
    expect(link).to_have_text(re.compile(r"\d+ new"))
    assert (first_rows(tab.page), named.count()) == (shown, 0)
    link.click()
    expect(link).to_be_hidden()
    expect(named).to_have_count(1)  # in a row of its own, or in that of the episode that it goes on with


def test_without_scripts_filters_pages_and_exports_are_links_and_a_form(record: Beacon, visit: Visit) -> None:
    page = visit(record, "alice", "/discrepancies", java_script_enabled=False).page
    page.get_by_label("Kind").select_option("missing")
    page.get_by_label("Search").fill("id:old-job")
    page.get_by_role("button", name="Filter").click()
    assert "kind=missing" in page.url
    first = first_rows(page)
    page.get_by_role("link", name="Older").click()
    assert set(first).isdisjoint(first_rows(page))
    page.get_by_role("link", name="Newest").click()
    assert first_rows(page) == first
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert len([line for line in lines if "old-job" in line]) == 90
    assert download.value.suggested_filename.endswith(".csv")


@pytest.mark.long
def test_a_copied_address_shows_the_same_and_back_works(record: Beacon, visit: Visit) -> None:
    tab = visit(record, "alice", "/discrepancies?kind=missing&order=asc&q=id%3Aold-job")
    first = first_rows(tab.page)
    tab.page.get_by_role("link", name="Service", exact=True).click()
    assert "sort=service" in tab.page.url
    tab.page.go_back()
    assert first_rows(tab.page) == first
    assert (
        visit(record, "charlie", tab.page.url.removeprefix(record.url)).page.locator("#q").input_value() == "id:old-job"
    )


def test_on_a_phone_nothing_is_wider_than_the_screen_and_axe_finds_nothing(record: Beacon, visit: Visit) -> None:
    tab = visit(record, "bob", None, bypass_csp=True, **PHONE)
    for path in ("/discrepancies?q=id:old-job-000", "/discrepancies?q=colour:red"):
        tab.goto(path)
        tab.wait_state("connected")
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 360
        tab.page.add_script_tag(content=AXE)
        assert serious(tab.page) == [], path

"""The page of the audit in a browser: live, held while one reads, verified by a button; with scripts or without."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.audit import chain
from app.db import write
from tests.browser.conftest import MakeBeacon, Visit
from tests.browser.test_axe import AXE, FEW_ROWS, serious
from tests.support.beacon_server import Beacon
from tests.support.waiting import wait_for

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}

# Whether the bar was to be seen, and what of the outcome is read aloud.
NOTE_READING = """() => {
  const [bar, words] = ["verify-progress", "verified"].map((id) => document.getElementById(id));
  Object.assign(window, { seen: false, said: [] });
  new MutationObserver(() => { window.seen ||= !bar.hidden; }).observe(bar, { attributes: true });
  new MutationObserver(() => window.said.push(words.textContent)).observe(words, { childList: true });
}"""


def record(beacon: Beacon, number: int, actor: str = "carol") -> None:
    with beacon.app.app_context(), write() as session:
        for n in range(number):
            entry = chain.Entry(actor, "retry-job", f"mail/{n}", before={"failed": n}, after={"failed": n + 1})
            chain.record(session, entry)


@pytest.fixture(scope="module")
def audited(beacon: Beacon) -> Beacon:
    record(beacon, 120)
    return beacon


def seqs(page: Page) -> list[str]:
    page.wait_for_load_state("domcontentloaded")  # a click ends when the next page begins
    found: list[str] = page.locator("#audit [data-seq]").evaluate_all("all => all.map((row) => row.dataset.seq)")
    return found


def test_entries_enter_by_themselves_and_wait_behind_a_number_where_somebody_reads(
    audited: Beacon, visit: Visit
) -> None:
    """Two pages at once, since each looks every two seconds."""
    follower, reader = visit(audited, "alice", "/audit?actor=erin"), visit(audited, "charlie", "/audit")
    for tab in (follower, reader):
        tab.wait_state("connected")
    follower.mark()
    reader.page.mouse.wheel(0, 900)
    wait_for(lambda: reader.page.evaluate("scrollY") > 400, "the page to be scrolled")
    shown = seqs(reader.page)
    record(audited, 3, "erin")
    link = reader.page.locator("#audit-new")
    expect(link).to_have_text(re.compile(r"\d+ new"))
    assert seqs(reader.page) == shown
    expect(follower.page.locator("#audit [data-seq]")).to_have_count(3)
    assert not follower.was_reloaded
    link.click()
    expect(link).to_be_hidden()
    assert seqs(reader.page) != shown


def test_the_reading_shows_how_far_it_is_and_is_read_aloud_at_its_beginning_and_end(
    audited: Beacon, visit: Visit
) -> None:
    page = visit(audited, "alice", "/audit").page
    page.evaluate(NOTE_READING)
    page.get_by_role("button", name="Verify the whole chain").click()
    expect(page.locator("#verified .state")).to_have_text("Verified")
    expect(page.locator("#verify-progress")).to_be_hidden()
    seen, said = page.evaluate("[window.seen, window.said]")
    number = re.findall(r"ok: (\d+) entries, head [0-9a-f]{64}", page.locator("#verified").inner_text())[0]
    assert seen
    assert page.locator("#verify-progress").evaluate("bar => [bar.value, bar.max]") == [int(number)] * 2
    assert [words.partition(" ok:")[0].strip() for words in said] == ["Verifying…", "Verified"]


def test_a_chain_that_was_broken_in_its_file_interrupts_and_names_the_entry(
    start_beacon: MakeBeacon, visit: Visit
) -> None:
    beacon = start_beacon()
    record(beacon, 3)
    with closing(sqlite3.connect(beacon.database, isolation_level=None)) as intruder:
        guards = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'command_audit'"
        for (name,) in intruder.execute(guards).fetchall():
            intruder.execute(f"DROP TRIGGER {name}")
        intruder.execute("UPDATE command_audit SET actor = 'nobody' WHERE target = 'mail/1'")
        [(seq,)] = intruder.execute("SELECT seq FROM command_audit WHERE target = 'mail/1'").fetchall()
    page = visit(beacon, "alice", "/audit").page
    page.get_by_role("button", name="Verify the whole chain").click()
    wrong = page.get_by_role("alert").filter(has_text="Broken")
    expect(wrong).to_contain_text(re.compile(rf"Broken entry \S+ \(seq {seq}\): "))
    expect(wrong).to_have_attribute("data-state", "error")
    expect(wrong.locator(".icon")).to_be_visible()
    expect(page.locator("#verified")).to_be_empty()


def test_before_and_after_open_with_the_keyboard(audited: Beacon, visit: Visit) -> None:
    page = visit(audited, "alice", "/audit?actor=carol&target=mail/7").page
    page.locator("#audit summary").first.focus()
    page.keyboard.press("Enter")
    row = page.locator("#audit .sides [data-differs]").first
    expect(row).to_be_visible()
    assert row.inner_text().split() == ["failed", "7", "8"]


def test_without_scripts_filters_pages_exports_and_the_button_work(audited: Beacon, visit: Visit) -> None:
    # The lines of the reading are plain text, which names no icon: the browser asks for its own.
    page = visit(audited, "alice", "/audit", java_script_enabled=False, allow=["404"]).page
    page.get_by_label("Who").fill("carol")
    page.get_by_role("button", name="Filter").click()
    assert "actor=carol" in page.url
    first = seqs(page)
    page.get_by_role("link", name="Next").click()
    assert set(first).isdisjoint(seqs(page))
    page.get_by_role("link", name="Back").click()
    assert seqs(page) == first
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert "(head)" in Path(download.value.path()).read_text().splitlines()[-1]
    page.get_by_role("button", name="Verify the whole chain").click()
    expect(page.locator("body")).to_contain_text(re.compile(r"ok: \d+ entries"))


def test_on_a_phone_nothing_is_wider_than_the_screen_and_axe_finds_nothing(audited: Beacon, visit: Visit) -> None:
    tab = visit(audited, "bob", None, bypass_csp=True, **PHONE)
    for path in ("/audit?actor=carol&target=mail/7", "/audit?outcome=maybe"):
        tab.goto(path)
        tab.wait_state("connected")
        tab.page.locator("#audit summary").first.click()
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 360
        tab.page.evaluate(FEW_ROWS, "#audit [data-seq]")
        tab.page.add_script_tag(content=AXE)
        assert serious(tab.page) == [], path

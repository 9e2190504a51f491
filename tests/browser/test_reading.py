"""Nothing moves under a reader's hands; filter, sort and search live in the address."""

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Visit
from tests.browser.tab import Tab
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService


def broadcast(beacon: Beacon, count: int = 1, text: str = "news") -> list[int]:
    return beacon.publish([{"type": "test.reading", "data": {"text": f"{text} {number}"}} for number in range(count)])


def filled(beacon: Beacon, visit: Visit, path: str = "/") -> Tab:
    broadcast(beacon, 50, "old")
    tab = visit(beacon, "alice", path)
    tab.wait_state("connected")
    return tab


def place_of_a_row(tab: Tab) -> float:
    """Where the reader sees a row. Beyond the screen the page may grow, and the browser scrolls by as much."""
    found: float = tab.page.evaluate("document.querySelector('#changes tr:nth-child(40)').getBoundingClientRect().top")
    return found


def news(tab: Tab) -> str:
    return tab.page.locator("#news-link").inner_text() if tab.page.locator("#news-link").is_visible() else ""


def test_rows_wait_while_the_list_is_scrolled_and_enter_when_it_no_longer_is(beacon: Beacon, visit: Visit) -> None:
    tab = filled(beacon, visit)
    tab.page.evaluate("scrollTo(0, 1200)")
    top = place_of_a_row(tab)
    before = tab.change_ids()
    ids = broadcast(beacon, 3)
    expect(tab.page.locator("#news-link")).to_have_text("3 new")
    assert tab.change_ids() == before
    assert place_of_a_row(tab) == top
    tab.page.locator("#news-link").click()
    tab.wait_change(ids[-1])
    tab.wait_right()
    assert news(tab) == ""
    tab.page.evaluate("scrollTo(0, 1200)")
    [later] = broadcast(beacon)
    expect(tab.page.locator("#news-link")).to_have_text("1 new")
    tab.page.evaluate("scrollTo(0, 0)")
    tab.wait_change(later)


@pytest.mark.parametrize("how", ["selecting", "typing"])
def test_rows_wait_while_somebody_selects_or_types(beacon: Beacon, visit: Visit, how: str) -> None:
    tab = filled(beacon, visit)
    if how == "typing":
        tab.page.locator("#q").fill("half a word")
    else:
        tab.page.evaluate("getSelection().selectAllChildren(document.querySelector('#changes .words'))")
    before = tab.change_ids()
    [new] = broadcast(beacon)
    expect(tab.page.locator("#news-link")).to_have_text("1 new")
    assert tab.change_ids() == before
    tab.page.locator("#q").fill("")
    tab.page.evaluate("() => { document.activeElement.blur(); getSelection().removeAllRanges(); }")
    tab.wait_change(new)
    tab.wait_right()


def test_the_bar_is_as_high_empty_as_full(beacon: Beacon, visit: Visit) -> None:
    tab = filled(beacon, visit, "/?order=asc")
    height = tab.page.locator("#news").bounding_box()
    broadcast(beacon)
    expect(tab.page.locator("#news-link")).to_be_visible()
    assert tab.page.locator("#news").bounding_box() == height


def test_a_chosen_list_takes_no_rows_but_counts_and_loads_its_own_address(beacon: Beacon, visit: Visit) -> None:
    tab = filled(beacon, visit, "/?q=type:test+old")
    before = tab.change_ids()
    ids = broadcast(beacon, 2, "old again")
    expect(tab.page.locator("#news-link")).to_have_text("2 new")
    assert tab.change_ids() == before
    tab.page.locator("#news-link").click()
    tab.wait_change(ids[-1])
    assert tab.page.url.endswith("/?q=type:test+old")


def test_a_held_tile_says_its_state_keeps_the_focus_and_is_loaded_once_when_let_go(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    tab = visit(beacon, "alice")
    tab.wait_state("connected")
    tab.page.locator("#tile-mail-link").focus()
    tab.page.evaluate("window.link = document.activeElement")
    service.create_jobs(*[{"state": "queued"} for _ in range(7)])
    expect(tab.figure("mail", "queued")).to_have_text("7")
    assert tab.page.evaluate("document.activeElement === window.link && window.link.isConnected")
    region = tab.page.locator("[data-region=tiles]")
    expect(region).to_have_attribute("data-is-stale", "true")
    loads = tab.asked_for("/")
    tab.page.evaluate("document.activeElement.blur()")
    expect(region).to_have_attribute("data-is-stale", "false")
    assert tab.asked_for("/") == loads + 1


def test_the_search_form_its_errors_and_the_heads_work_without_scripts_and_back_goes_back(
    beacon: Beacon, visit: Visit
) -> None:
    ids = beacon.publish(
        [
            {"type": "job.failed", "data": {"service": "mail", "jobId": "one", "queue": "q"}},
            {"type": "job.finished", "data": {"service": "mail", "jobId": "two", "queue": "q"}},
        ]
    )
    tab = visit(beacon, "alice", java_script_enabled=False)
    page = tab.page
    page.get_by_label("Search the activity").fill('state:failed "queue q"')
    page.get_by_role("button", name="Search").click()
    assert page.url == f"{beacon.url}/?q=state%3Afailed+%22queue+q%22#changes-title"
    expect(page.locator(f"#change-{ids[0]}")).to_be_visible()
    page.wait_for_load_state()  # a click ends when the next page begins, and what is not there yet is not missing
    expect(page.locator(f"#change-{ids[1]}")).to_have_count(0)
    page.get_by_role("link", name="Service", exact=True).click()
    expect(page.locator("th[aria-sort]")).to_have_text("Service ↑")
    page.go_back()
    assert page.url == f"{beacon.url}/?q=state%3Afailed+%22queue+q%22#changes-title"
    page.get_by_label("Search the activity").fill("colour:red")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#q-errors")).to_contain_text("Unknown filter “colour:”")
    page.get_by_role("link", name="Show all").click()
    expect(page.locator("#q")).to_have_value("")


def test_an_open_dialog_stays_and_the_page_under_it_goes_on(beacon: Beacon, service: DemoService, visit: Visit) -> None:
    tab = filled(beacon, visit)
    tab.page.keyboard.press("?")
    expect(tab.page.locator("#help")).to_be_visible()
    [new] = broadcast(beacon)
    before = tab.figure("mail", "running").inner_text()
    service.create_jobs({"state": "running"})
    expect(tab.figure("mail", "running")).not_to_have_text(before)
    tab.wait_change(new)
    expect(tab.page.locator("#help")).to_be_visible()
    assert tab.page.evaluate("document.querySelector('#help').contains(document.activeElement)")
    tab.page.keyboard.press("Escape")
    tab.page.get_by_label("Search the activity").click()  # the page is not left inert
    expect(tab.page.get_by_label("Search the activity")).to_be_focused()


def test_a_focused_row_keeps_its_place_and_its_focus_while_updates_flow(beacon: Beacon, visit: Visit) -> None:
    beacon.publish([{"type": "test.reading", "data": {"service": "mail", "n": n}} for n in range(3)])
    tab = visit(beacon, "alice")
    tab.wait_state("connected")
    link = tab.page.locator("#changes a").first
    link.focus()
    tab.page.evaluate("window.row = document.activeElement.closest('tr')")
    place = link.bounding_box()
    before = tab.change_ids()
    for _ in range(5):
        ids = broadcast(beacon, 20)
    expect(tab.page.locator("#news-link")).to_have_text("100 new")
    assert tab.change_ids() == before
    assert link.bounding_box() == place
    assert tab.page.evaluate("window.row.isConnected && window.row.contains(document.activeElement)")
    tab.page.evaluate("document.activeElement.blur()")
    tab.wait_change(ids[-1])
    tab.wait_right()


LONG = "the lamb on the roof " * 7


@pytest.mark.parametrize("how", ["click", "Enter"])
def test_cut_text_opens_whole_and_closes_again(beacon: Beacon, visit: Visit, how: str) -> None:
    [event_id] = beacon.publish([{"type": "test.long", "data": {"text": LONG}}])
    tab = visit(beacon, "alice", viewport={"width": 900, "height": 800})
    tab.wait_change(event_id)
    text = tab.page.locator(f"#change-{event_id} .cut")
    expect(text).to_have_attribute("aria-expanded", "false")
    height = height_of(text)
    for expanded in ("true", "false"):
        if how == "click":
            text.click()
        else:
            text.press("Enter")
        expect(text).to_have_attribute("aria-expanded", expanded)
        assert (height_of(text) > height) is (expanded == "true")


@pytest.mark.long
def test_text_that_fits_is_no_button(beacon: Beacon, visit: Visit) -> None:
    [event_id] = beacon.publish([{"type": "test.short", "data": {"n": 1}}])
    tab = visit(beacon, "alice")
    tab.wait_change(event_id)
    text = tab.page.locator(f"#change-{event_id} .cut")
    text.click()
    assert text.evaluate("one => one.getAttributeNames()") == ["class", "title"]


def test_an_id_is_copied_whole_by_its_button(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", permissions=["clipboard-read", "clipboard-write"])
    tab.wait_state("connected")
    [event_id] = beacon.publish(
        [{"type": "job.failed", "data": {"service": "mail", "jobId": "job_0123456789abcdef0123456789"}}]
    )
    tab.wait_change(event_id)
    row = tab.page.locator(f"#change-{event_id}")
    shown = row.locator(".id").bounding_box()
    assert shown is not None
    assert shown["width"] < 120
    expect(row.locator(".id")).to_have_attribute("title", "job_0123456789abcdef0123456789")
    button = row.get_by_role("button", name="Copy job_0123456789abcdef0123456789")
    button.press("Enter")
    expect(button).to_have_attribute("data-copied", "true")
    assert tab.page.evaluate("navigator.clipboard.readText()") == "job_0123456789abcdef0123456789"
    expect(button).not_to_have_attribute("data-copied", "true")


def test_without_a_clipboard_there_is_no_copy_button(beacon: Beacon, visit: Visit) -> None:
    [event_id] = beacon.publish([{"type": "job.failed", "data": {"service": "mail", "jobId": "job_0123456789abcdef"}}])
    tab = visit(beacon, "alice", None, private=True)
    tab.page.add_init_script("Object.defineProperty(Navigator.prototype, 'clipboard', { value: undefined })")
    tab.goto()
    tab.wait_change(event_id)
    tab.wait_state("connected")
    expect(tab.page.locator(".copy")).to_have_count(0)


def test_a_refresh_keeps_the_search_that_the_page_shows(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", "/?q=type%3Atest&sort=service", java_script_enabled=False)
    tab.page.get_by_role("link", name="Refresh every 10 s").click()
    assert tab.page.url == f"{beacon.url}/?q=type%3Atest&sort=service&refresh=10"
    tab.page.get_by_role("link", name="Stop refreshing").click()
    assert tab.page.url == f"{beacon.url}/?q=type%3Atest&sort=service"


def height_of(text: Locator) -> float:
    box = text.bounding_box()
    assert box is not None
    return box["height"]

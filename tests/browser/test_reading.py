"""Nothing moves under a reader's hands; filter, sort and search live in the address."""

import pytest
from playwright.sync_api import expect

from tests.beacon_process import Beacon
from tests.browser.conftest import Visit
from tests.browser.tab import Tab
from tests.demo_process import DemoService


def broadcast(beacon: Beacon, count: int = 1, text: str = "news") -> list[int]:
    return beacon.publish([{"type": "test.reading", "data": {"text": f"{text} {number}"}} for number in range(count)])


def filled(beacon: Beacon, visit: Visit, path: str = "/") -> Tab:
    broadcast(beacon, 50, "old")
    tab = visit(beacon, "alice", path)
    tab.wait_state("connected")
    return tab


def news(tab: Tab) -> str:
    return tab.page.locator("#news-link").inner_text() if tab.page.locator("#news-link").is_visible() else ""


def test_rows_wait_while_the_list_is_scrolled_and_enter_when_it_no_longer_is(beacon: Beacon, visit: Visit) -> None:
    tab = filled(beacon, visit)
    tab.page.evaluate("scrollTo(0, 1200)")
    top = tab.page.evaluate("scrollY")
    before = tab.change_ids()
    ids = broadcast(beacon, 3)
    expect(tab.page.locator("#news-link")).to_have_text("3 new")
    assert tab.change_ids() == before
    assert tab.page.evaluate("scrollY") == top
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
    page.get_by_label("Search the changes").fill('state:failed "queue q"')
    page.get_by_role("button", name="Search").click()
    assert page.url == f"{beacon.url}/?q=state%3Afailed+%22queue+q%22#changes-title"
    assert page.locator(f"#change-{ids[0]}").count() == 1
    assert page.locator(f"#change-{ids[1]}").count() == 0
    page.get_by_role("link", name="Service", exact=True).click()
    expect(page.locator("th[aria-sort]")).to_have_text("Service ↑")
    page.go_back()
    assert page.url == f"{beacon.url}/?q=state%3Afailed+%22queue+q%22#changes-title"
    page.get_by_label("Search the changes").fill("colour:red")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#q-errors")).to_contain_text("There is no filter “colour:”")
    page.get_by_role("link", name="Show all").click()
    expect(page.locator("#q")).to_have_value("")

"""What waits for its reader is shown in the end, whatever else happens meanwhile."""

from playwright.sync_api import expect

from app.eventlog.append import NewEvent
from tests.browser.conftest import Visit
from tests.browser.tab import LIST_LENGTH, Tab, intercept
from tests.notifications.scene import notice
from tests.support.beacon_server import Beacon
from tests.support.cast import publish
from tests.web.payloads import update


def rows(beacon: Beacon, number: int) -> list[int]:
    return beacon.publish([{"type": "test.holding", "data": {"n": n}} for n in range(number)])


def reading(beacon: Beacon, visit: Visit) -> Tab:
    rows(beacon, LIST_LENGTH)
    tab = visit(beacon, "alice")
    tab.wait_state("connected")
    return tab


def test_rows_that_wait_outlast_another_region_that_is_loaded_again(beacon: Beacon, visit: Visit) -> None:
    tab = reading(beacon, visit)
    tab.page.locator("#tile-mail-link").focus()
    tab.page.evaluate("scrollTo(0, 1200)")
    held = tab.page.locator("[data-region=tiles]")
    publish(beacon.app, NewEvent("reconciliation.update", update("mail")))
    expect(held).to_have_attribute("data-is-stale", "true")
    [last] = rows(beacon, 1)
    expect(tab.page.locator("#news-link")).to_be_visible()
    tab.page.evaluate("document.activeElement.blur()")
    expect(held).to_have_attribute("data-is-stale", "false")
    expect(tab.page.locator("#news-link")).to_be_visible()
    tab.page.evaluate("scrollTo(0, 0)")
    tab.wait_change(last)
    tab.wait_right()


def test_a_long_pause_that_ends_while_the_page_cannot_be_loaded_loses_nothing(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", allow=["503"])
    tab.wait_state("connected")
    tab.page.keyboard.press("r")
    expect(tab.badge).to_have_text("Paused")
    for _ in range(2):
        rows(beacon, 300)  # more than a pause keeps
    beacon.say("The last of them.")  # shows during a pause, in its turn
    expect(tab.page.locator(".flash", has_text="The last of them.")).to_be_visible()
    away = tab.beacon.url + "/"
    intercept(tab.page, away, lambda route: route.fulfill(status=503, body="{}", content_type="application/json"))
    with tab.page.expect_response(lambda answer: answer.url == away and answer.status == 503):
        tab.page.keyboard.press("r")
    tab.page.unroute(away)
    rows(beacon, 1)
    tab.wait_right()


def test_the_page_of_notifications_stands_still_during_a_pause(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", "/notifications", hear=True)
    tab.wait_state("connected")
    tab.page.keyboard.press("r")
    expect(tab.badge).to_have_text("Paused")
    with tab.page.expect_response(lambda answer: answer.url == tab.beacon.url + "/notifications"):
        notice(beacon.app, "everyone", "test:holding", "Found by hand")
    expect(tab.page.locator("#notifications-new")).to_have_text("1 new")
    expect(tab.page.locator("tr[data-notice]", has_text="Found by hand")).to_have_count(0)
    tab.page.keyboard.press("r")
    expect(tab.page.locator("tr[data-notice]", has_text="Found by hand")).to_be_visible()


def test_a_panel_that_cannot_be_loaded_says_so_and_loads_by_itself(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", allow=["503"])
    tab.wait_state("connected")
    address = "**/notifications/panel"
    intercept(tab.page, address, lambda route: route.fulfill(status=503, body="{}", content_type="application/json"))
    tab.page.keyboard.press("n")
    expect(tab.page.locator("#panel-body")).to_contain_text("cannot be loaded just now")
    tab.page.unroute(address)
    expect(tab.page.locator("#panel-body .notices")).to_be_visible()

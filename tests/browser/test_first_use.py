"""What only a person needs is loaded with the first sign of one, and the page does without it until then."""

import re
from urllib.parse import urlsplit

from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.tab import Tab, until
from tests.support.beacon_server import Beacon

FIRST = {"all.css", "app.js", "error_boundary.js"}
LATER = {"connection_details.js", "keyboard.js", "panel.css", "panel.js", "toast.js"}
LATE_FILES = re.compile(r"/(keyboard|connection_details|panel|toast)\.(js|css)$")


def loaded(tab: Tab) -> set[str]:
    """The names of the static files that the page has asked for."""
    paths = [urlsplit(url).path for url in tab.asked]
    return {path.rsplit("/", 1)[1] for path in paths if path.startswith("/static/")} - {"favicon.svg"}


def test_a_page_that_nobody_touches_loads_nothing_more(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", None, private=True)
    tab.page.clock.install()
    tab.goto()
    tab.wait_state("connected")
    tab.page.clock.fast_forward(120_000)
    tab.wait_state("connected")
    assert loaded(tab) == FIRST
    tab.page.mouse.move(200, 200)
    until(tab.page, lambda: loaded(tab) == FIRST | LATER, "what a person needs")


def test_the_very_first_click_or_key_counts(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice")
    tab.page.evaluate("document.getElementById('bell').click()")
    expect(tab.page.locator("#panel")).to_be_visible()
    tab.goto()
    tab.page.keyboard.press("?")
    expect(tab.page.locator("#help")).to_be_visible()
    tab.goto()
    tab.page.evaluate("document.getElementById('help-open').click()")
    expect(tab.page.locator("#help")).to_be_visible()


def test_without_them_the_badge_gives_its_reason_and_the_bell_is_a_link(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", None, allow=[r"console: Failed to load resource"], private=True)
    tab.page.route(LATE_FILES, lambda route: route.abort())
    tab.goto()
    tab.wait_state("connected")
    tab.page.locator(".badge-button").click()
    detail = tab.page.locator("#connection-detail")
    expect(detail).to_be_visible()
    expect(detail.locator("[data-part=reason]")).not_to_have_text("Shows the state at the time the page was loaded.")
    expect(detail.locator("dl")).to_have_count(0)
    tab.page.keyboard.press("Escape")
    tab.page.locator("#bell").click()
    tab.page.wait_for_url("**/notifications")

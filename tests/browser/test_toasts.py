"""Toasts come, wait for whoever is on them, and go; a page that has died says so."""

from typing import Any

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Visit
from tests.browser.tab import Tab
from tests.support.beacon_server import Beacon
from tests.support.waiting import wait_for

# The module as it is served, with the page's own icons and styles.
SHOW = """async ([severity, text]) => {
  const { showToast } = await import(`/static/${document.body.dataset.build}/js/ui/toast.js`);
  showToast({ severity, text });
}"""


def opened(beacon: Beacon, visit: Visit, **options: Any) -> Tab:
    # A clock that leaps opens the stream again each time, in the end too often.
    tab = visit(beacon, "alice", None, private=True, allow=["429"], **options)
    tab.page.clock.install()
    tab.goto()
    tab.wait_state("connected")
    return tab


def show(page: Page, severity: str, text: str) -> None:
    page.evaluate(SHOW, [severity, text])
    expect(page.locator(".toast", has_text=text)).to_be_visible()


def test_the_polite_region_stands_before_the_first_toast(beacon: Beacon, visit: Visit) -> None:
    """What comes into the page together with its live region is not always read aloud; an alert is."""
    page = opened(beacon, visit).page
    expect(page.locator("#toasts > [role=status]")).to_have_count(1)
    expect(page.locator("#toasts > [role=status]")).to_be_empty()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_information_leaves_after_six_seconds_and_a_failure_stays(beacon: Beacon, visit: Visit) -> None:
    page = opened(beacon, visit).page
    page.mouse.move(5, 5)
    show(page, "info", "Rollout is at 25 %")
    show(page, "error", "The retry did not reach Mail")
    expect(page.locator("#toasts [role=status]")).to_contain_text("Rollout is at 25 %")
    expect(page.locator("#toasts [role=alert]")).to_contain_text("The retry did not reach Mail")
    page.clock.fast_forward(4_000)
    expect(page.locator(".toast")).to_have_count(2)
    page.clock.fast_forward(2_500)
    expect(page.locator(".toast")).to_have_count(1)
    page.clock.fast_forward(120_000)
    expect(page.locator(".toast")).to_have_text("Failed The retry did not reach MailClose")
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".toast")).to_have_count(0)


def test_a_toast_does_not_leave_while_it_is_pointed_at_or_focused(beacon: Beacon, visit: Visit) -> None:
    page = opened(beacon, visit).page
    show(page, "success", "Purged")
    toast = page.locator(".toast")
    toast.hover()
    page.clock.fast_forward(60_000)
    expect(toast).to_be_visible()
    toast.get_by_role("button", name="Close").focus()
    page.mouse.move(5, 5)
    page.clock.fast_forward(60_000)
    expect(toast).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    page.clock.fast_forward(6_500)
    expect(toast).to_have_count(0)


def test_of_many_toasts_three_stay_failures_first(beacon: Beacon, visit: Visit) -> None:
    page = opened(beacon, visit).page
    show(page, "error", "one")
    for text in ("two", "three", "four", "five"):
        show(page, "info", text)
    expect(page.locator(".toast-words")).to_have_text(["Message four", "Message five", "Failed one"])


def test_toasts_stand_in_the_corner_and_above_a_phones_lower_edge(beacon: Beacon, visit: Visit) -> None:
    page = opened(beacon, visit).page
    for width, height in ((1280, 800), (360, 740)):
        page.set_viewport_size({"width": width, "height": height})
        show(page, "error", f"at {width}")
        box = page.locator("#toasts").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
        assert box["width"] <= 360


def test_a_page_whose_script_dies_reports_it_and_offers_to_load_the_dashboard_again(
    beacon: Beacon, visit: Visit
) -> None:
    """The script is really dead: what the server sends of it throws before anything of it runs."""
    tab = visit(beacon, "alice", None, allow=["the script is broken"])
    pattern = "**/js/app.js"
    tab.page.route(pattern, kill)
    tab.goto()
    dead = tab.page.locator("#dead")
    expect(dead).to_contain_text("This page has stopped working.")
    expect(dead).to_have_attribute("role", "alert")
    expect(tab.badge).to_have_text("Not live")
    wait_for(lambda: "the script is broken" in beacon.log_text(), "the report in the server's log")
    tab.page.unroute(pattern)
    dead.get_by_role("link", name="Reload dashboard").click()
    tab.wait_state("connected")
    expect(dead).to_be_hidden()


def test_a_page_whose_script_does_not_load_says_so_as_well(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", None, allow=["Failed to load resource", "net::ERR_FAILED"])
    tab.page.route("**/js/app.js", lambda route: route.abort())
    tab.goto()
    expect(tab.page.locator("#dead")).to_be_visible()
    expect(tab.page.get_by_role("link", name="Reload dashboard")).to_be_visible()


def kill(route: Route) -> None:
    route.fulfill(content_type="text/javascript", body="throw new Error('the script is broken');")

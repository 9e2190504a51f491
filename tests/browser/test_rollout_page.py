"""The page of the rollout in a browser: a change from look to apply, live for others, by keyboard, on a phone."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from app.web.rollout.rollout_form import FLAG
from tests.browser.conftest import Visit
from tests.browser.tab import Tab, intercept
from tests.browser.test_axe import AXE, serious
from tests.rollout.test_client_metrics import reported
from tests.support.beacon_server import Beacon
from tests.support.waiting import wait_for

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}

# What the log tells a page, and then longer than it takes until it looks.
SIGNAL = """new Promise((done) => {
  document.dispatchEvent(new CustomEvent("beacon:signal", { detail: { type: "flag.changed" } }));
  setTimeout(done, 600);
})"""


@pytest.fixture(scope="module")
def reports_of_browsers(beacon: Beacon) -> Beacon:
    for ago in (9, 8, 7, 3, 2, 1):
        reported(beacon.app, ago, attempts=20, failures=ago % 3, reconnects=2, helloMs=[80.0], lagMs=[40.0 * ago])
        reported(beacon.app, ago, "polling", fallbacks=1)
    return beacon


def stands(beacon: Beacon) -> tuple[int, bool]:
    [(percentage, enabled)] = beacon.sql("SELECT percentage, enabled FROM flag WHERE name = ?", FLAG)
    return percentage, bool(enabled)


def figure(page: Page, text: str) -> None:
    expect(page.locator(".rollout-figure strong")).to_have_text(text)


def test_a_change_is_reviewed_refused_made_and_taken_back(reports_of_browsers: Beacon, visit: Visit) -> None:
    """And another page that shows it follows by itself."""
    beacon = reports_of_browsers
    beacon.set_rollout(100)
    tab, watching = visit(beacon, "pia", "/rollout", allow=["409", "ERR_FAILED"]), visit(beacon, "alice", "/rollout")
    page = tab.page
    for one in (tab, watching):
        one.wait_state("connected")
    watching.mark()
    wait_for(lambda: beacon.sql("SELECT count(*) FROM stream_presence")[0][0] >= 2, "both streams to be counted")
    page.locator("#percentage").fill("0")
    page.keyboard.press("Enter")
    names = page.locator("[data-region=rollout-switching-0]")
    expect(names).to_contain_text(re.compile(r"would leave the stream: (.*, )?alice, (.*, )?pia"))
    page.locator("#reason").fill("too much of it")
    tab.mark()
    page.get_by_role("button", name="10 %", exact=True).click()
    expect(page.get_by_role("heading", name="Set to 10 %?")).to_be_focused()
    expect(page.locator("#reason")).to_have_value("too much of it")
    assert not tab.was_reloaded
    assert page.url.endswith("/rollout?percentage=10")
    outlasts_what_is_late_or_lost(page)
    page.get_by_role("link", name="Last 6 hours").click()
    expect(page.locator("#span-360")).to_have_attribute("aria-current", "true")
    expect(page.locator("#reason")).to_have_value("too much of it")
    assert page.url.endswith("/rollout?percentage=10&minutes=360")

    watching.page.keyboard.press("r")
    expect(watching.page.locator("html")).to_have_attribute("data-paused", "")
    asked = watching.asked_for("/rollout")
    page.locator("#take-back-reason").fill("half a re")
    beacon.set_rollout(25)
    expect(page.locator(".kill-now strong")).to_have_text("25 %")
    expect(page.locator("#take-back-reason")).to_have_value("half a re")
    figure(page, "25 %")
    watching.page.evaluate(SIGNAL)
    figure(watching.page, "100 %")
    assert watching.asked_for("/rollout") == asked
    watching.page.keyboard.press("r")
    figure(watching.page, "25 %")
    page.get_by_role("button", name="Set to 10 %").click()
    expect(page.locator("#review [role=alert]")).to_contain_text("Changed to 25 % by test less than a minute ago")
    expect(page.locator("#reason")).to_have_value("too much of it")
    assert stands(beacon) == (25, True)
    page.get_by_role("link", name="Look again").click()
    page.wait_for_url("**/rollout?percentage=10&reason=too+much+of+it&minutes=360#review")
    expect(page.locator("#reason")).to_have_value("too much of it")
    page.get_by_role("button", name="Set to 10 %").click()
    page.wait_for_url("**/rollout?minutes=360#main")
    figure(page, "10 %")
    figure(watching.page, "10 %")
    assert not watching.was_reloaded
    expect(watching.page.locator(".rollout-history tbody tr").first).to_contain_text("25 % → 10 %")
    expect(watching.page.locator(".kill button")).to_be_disabled()

    page.mouse.wheel(0, 5_000)
    page.wait_for_function("scrollY > 0")
    switch = page.get_by_role("button", name="Switch off for everybody")
    expect(switch).to_be_in_viewport()
    switch.click()
    # The page may come before the worker has said that it loaded the change, of which no event tells.
    expect(page.locator(".kill")).to_contain_text("Switched off")
    assert stands(beacon) == (10, False)


def outlasts_what_is_late_or_lost(page: Page) -> None:
    """A slow answer comes after another one was asked for; a lost one is said where it was asked for."""
    late: list[Route] = []
    intercept(page, "**/rollout?percentage=100", lambda route: late.append(route))
    page.route("**/rollout?percentage=50", lambda route: route.abort())
    page.get_by_role("button", name="100 %", exact=True).click()
    page.get_by_role("button", name="10 %", exact=True).click()
    expect(page.get_by_role("heading", name="Set to 10 %?")).to_be_focused()
    with page.expect_response("**/rollout?percentage=100"):
        late[0].continue_()
    page.get_by_role("button", name="50 %", exact=True).click()
    expect(page.locator("#review [role=alert]")).to_contain_text("Beacon did not answer: nothing was set")
    expect(page.get_by_role("heading", name="Set to 10 %?")).to_be_visible()
    expect(page.locator("#reason")).to_have_value("too much of it")
    assert page.url.endswith("/rollout?percentage=10")
    page.unroute_all()
    page.get_by_role("button", name="10 %", exact=True).click()
    expect(page.locator("#review [role=alert]")).to_have_count(0)


def test_without_scripts_everything_is_a_form_or_a_link(reports_of_browsers: Beacon, visit: Visit) -> None:
    beacon = reports_of_browsers
    beacon.set_rollout(50)
    page = visit(beacon, "pia", "/rollout", java_script_enabled=False).page
    page.get_by_role("button", name="100 %", exact=True).click()
    expect(page.get_by_role("heading", name="Set to 100 %?")).to_be_visible()
    page.locator("#reason").fill("all of them")
    page.locator("#typed").fill("100")
    page.get_by_role("button", name="Set to 100 %").click()
    page.wait_for_url("**/rollout#main")
    figure(page, "100 %")
    page.get_by_role("button", name="0 %", exact=True).click()
    figure(page, "0 %")
    page.locator("#plan-reason").fill("slowly")
    page.locator("#plan-typed").fill("100")
    page.get_by_role("button", name="Start the plan").click()
    page.get_by_role("button", name="Stop the plan").click()
    expect(page.get_by_role("button", name="Start the plan")).to_be_visible()
    page.get_by_role("link", name="Last 6 hours").click()
    expect(page.get_by_role("link", name="Last 6 hours")).to_have_attribute("aria-current", "true")


def test_axe_finds_nothing_serious_and_a_phone_keeps_the_switch_on_the_screen(
    reports_of_browsers: Beacon, visit: Visit
) -> None:
    beacon = reports_of_browsers
    beacon.set_rollout(50)
    beacon.set_rollout(10)
    for user, options in (("alice", {}), ("pia", PHONE)):
        tab = visit(beacon, user, "/rollout?percentage=100", bypass_csp=True, **options)
        expect(tab.page.locator("html")).to_have_attribute("data-connection", re.compile("connected|polling"))
        tab.page.add_script_tag(content=AXE)
        assert serious(tab.page) == [], user
    fits_the_phone(tab)


def fits_the_phone(tab: Tab) -> None:
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    for y in (0, 900, 100_000):
        tab.page.evaluate("y => scrollTo(0, y)", y)
        expect(tab.page.get_by_role("button", name="Switch off for everybody")).to_be_in_viewport()

"""On a phone, with a keyboard alone, in the light and in the dark."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakeBeacon, Visit
from tests.browser.test_axe import SCHEMES
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService
from tests.support.waiting import wait_for

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 1}
LONG = "a-job-with-a-name-that-nobody-would-type-" * 4

FOCUSABLE = """() => {
  const wanted = "a[href], button:enabled, input:enabled:not([type=hidden]), summary, [tabindex='0']";
  const all = document.querySelectorAll(wanted);
  const reachable = [...all].filter((one) => one.checkVisibility());
  reachable.forEach((one, at) => { one.dataset.at = at; });
  return reachable.map((one) => `${one.dataset.at} ${one.outerHTML.slice(0, 120)}`);
}"""
WALL_PARTS = ["html", ".tile-name", ".figure dd", ".bar", ".strip-summary", "#changes td", ".bar .icon"]
# The size of type and the height of each part.
SIZES = """(names) => Object.fromEntries(names.map((name) => {
  const one = document.querySelector(name);
  return [name, [parseFloat(getComputedStyle(one).fontSize), one.getBoundingClientRect().height]];
}))"""
# Ids at the end of a line are cut for the eye; the line shows one that has the focus.
BEYOND = """() => [...document.querySelectorAll("main *, header *, footer *")]
  .filter((one) => one.checkVisibility() && one.matches("a, button, input, h1, h2, h3, .state, .figure")
    && one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".visually-hidden, td, .tile-last"))
  .map((one) => one.outerHTML.slice(0, 120))"""
LINES = """() => {
  document.querySelector("main").insertAdjacentHTML("beforeend",
    '<svg class="graph"><path class="streaming" d="M0 0h9"/><path class="polling" d="M0 0h9"/></svg>');
  return [...document.querySelectorAll("main > .graph path")].map((one) => getComputedStyle(one).strokeDasharray);
}"""
FOCUSED = """() => {
  const one = document.activeElement;
  const box = one.getBoundingClientRect();
  return {
    at: one.dataset.at ?? null, what: one.outerHTML.slice(0, 200),
    outlined: getComputedStyle(one).outlineStyle !== "none",
    inView: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
  };
}"""


@pytest.fixture(scope="module")
def troubled(beacon: Beacon, service: DemoService) -> Beacon:
    """With a discrepancy, long names and a full list: the page at its worst."""
    service.create_jobs(*[{"id": f"{LONG}{n}", "queue": LONG, "state": "queued"} for n in range(8)])
    wait_for(lambda: beacon.sql("SELECT count(*) FROM known_job")[0][0] == 8, "the jobs to be known")
    service.lose(7)
    wait_for(lambda: beacon.sql("SELECT count(*) FROM open_item")[0][0] == 7, "the loss to be noticed")
    beacon.publish([{"type": "x." + "long" * 20, "data": {"word": "w" * 500}} for _ in range(60)])
    beacon.publish([{"type": "job.failed", "data": {"service": LONG, "jobId": LONG, "queue": LONG}}])
    return beacon


def test_no_page_scrolls_sideways_on_a_phone(troubled: Beacon, visit: Visit) -> None:
    tab = visit(troubled, "bob", None, allow=["404"], **PHONE)
    for path in ("/", "/services/mail", "/services/nobody", "/login"):
        tab.goto(path)
        if path in ("/", "/services/mail"):
            tab.wait_state("connected")
        for width in (390, 320):
            tab.page.set_viewport_size({"width": width, "height": 844})
            assert tab.page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [width, width], path
            assert tab.page.evaluate(BEYOND) == [], path


@pytest.mark.parametrize(
    ("path", "phone"),
    [
        ("/", False),
        ("/services/mail", True),
        pytest.param("/", True, marks=pytest.mark.long),
        pytest.param("/services/mail", False, marks=pytest.mark.long),
    ],
)
def test_the_keyboard_reaches_every_link_button_and_field_and_shows_where_it_is(
    troubled: Beacon, visit: Visit, path: str, phone: bool
) -> None:
    tab = visit(troubled, "bob", path, **(PHONE if phone else {}))
    tab.wait_state("connected")
    if path == "/services/mail":
        expect(tab.page.locator("#stuck-again")).to_be_visible()  # comes by itself, and would be one more to reach
    expect(tab.page.locator("#help-open")).to_be_visible()  # the last one that comes by itself
    wanted = tab.page.evaluate(FOCUSABLE)
    assert len(wanted) > 5
    reached = []
    for _ in wanted:
        tab.page.keyboard.press("Tab")
        focused = tab.page.evaluate(FOCUSED)
        assert focused["at"] is not None, focused["what"]
        assert focused["outlined"], wanted[int(focused["at"])]
        assert focused["inView"], wanted[int(focused["at"])]
        reached.append(int(focused["at"]))
    assert reached == list(range(len(wanted))), "reached in another order than they stand in"


def test_the_keyboard_alone_accepts_a_discrepancy(troubled: Beacon, visit: Visit) -> None:
    tab = visit(troubled, "bob")
    tab.wait_state("connected")
    keyboard = tab.page.keyboard
    press_until(tab.page, lambda: focused_text(tab.page).startswith("Review"))
    keyboard.press("Enter")
    tab.page.wait_for_url("**/services/mail#open-items")
    tab.wait_state("connected")
    press_until(tab.page, lambda: tab.page.evaluate("document.activeElement.id") == "choose")
    keyboard.press("Enter")
    tab.page.wait_for_url("**/services/mail?chosen=all#open-items")
    tab.wait_state("connected")
    press_until(tab.page, lambda: tab.page.evaluate("document.activeElement.id") == "reason")
    keyboard.type("by keyboard")
    keyboard.press("Enter")
    expect(tab.page.locator("#open-items")).to_contain_text("No open differences")


@pytest.mark.parametrize(
    "path", ["/", *(pytest.param(path, marks=pytest.mark.long) for path in ("/services/mail", "/login"))]
)
def test_light_and_dark_both_render(beacon: Beacon, visit: Visit, path: str) -> None:
    brightness = {}
    page = visit(beacon, None if path == "/login" else "alice", path).page
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        colours = page.evaluate(
            """() => {
              const style = getComputedStyle(document.body);
              return [style.backgroundColor, style.color].map((colour) => colour.match(/[0-9.]+/g).map(Number));
            }"""
        )
        brightness[scheme] = [sum(colour[:3]) / 3 for colour in colours]
        assert len(page.screenshot()) > 5_000
    assert brightness["light"][0] > 200 > 100 > brightness["light"][1]
    assert brightness["dark"][0] < 50 < 200 < brightness["dark"][1]


def test_only_production_fills_its_badge(beacon: Beacon, start_beacon: MakeBeacon, visit: Visit) -> None:
    production = start_beacon(ENVIRONMENT_NAME="production")
    for server, name, colour in [
        (beacon, "development", "rgba(0, 0, 0, 0)"),
        (production, "production", "rgb(179, 38, 30)"),
    ]:
        badge = visit(server, None, "/login").page.locator(".environment")
        expect(badge).to_have_text(name)
        expect(badge).to_have_css("background-color", colour)


def test_a_phone_has_its_links_in_a_menu_that_a_tap_beside_it_or_escape_closes(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", **PHONE)
    tab.wait_state("connected")
    page = tab.page
    expect(page.locator(".bar-links")).to_be_hidden()
    opener, link = page.locator("#menu summary"), page.get_by_role("link", name="Dashboard")
    expect(link).to_be_hidden()
    for close in (
        lambda: page.locator("#main").tap(position={"x": 20, "y": 600}),
        lambda: page.keyboard.press("Escape"),
    ):
        opener.tap()
        expect(link).to_be_visible()
        expect(page.get_by_role("button", name="Log out")).to_be_visible()
        opener.focus()
        close()
        expect(link).to_be_hidden()
    opener.tap()
    page.locator("#menu").get_by_role("link", name="Notifications").tap()
    page.wait_for_url("**/notifications")


def test_the_menu_of_a_phone_works_without_scripts(beacon: Beacon, visit: Visit) -> None:
    page = visit(beacon, "alice", "/services/mail", java_script_enabled=False, **PHONE).page
    page.locator("#menu summary").tap()
    page.get_by_role("link", name="Dashboard").tap()
    page.wait_for_url(f"{beacon.url}/")
    page.locator("#menu summary").tap()
    page.get_by_role("button", name="Log out").tap()
    page.wait_for_url(f"{beacon.url}/login")


def test_on_a_phone_a_row_has_two_lines_and_nothing_is_wider_than_360_pixels(troubled: Beacon, visit: Visit) -> None:
    tab = visit(troubled, "bob", **{**PHONE, "viewport": {"width": 360, "height": 740}})
    tab.wait_state("connected")
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 360
    rows = tab.page.locator("#changes > [data-id]")
    assert rows.evaluate_all("all => all.every((row) => row.offsetHeight <= 64)")
    line = "cells => cells.map((cell) => cell.getBoundingClientRect().top)"
    state, subject, time, words = (
        rows.first.locator(f".{name}").evaluate_all(line)[0] for name in ("is", "what", "at", "words")
    )
    assert abs(state - subject) < 12
    assert abs(time - words) < 12
    assert time > subject + 12


def test_on_a_wall_the_same_layout_grows(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", viewport={"width": 1280, "height": 800})
    tab.wait_state("connected")
    desk = tab.page.evaluate(SIZES, WALL_PARTS)
    tab.page.set_viewport_size({"width": 1920, "height": 1080})
    wall = tab.page.evaluate(SIZES, WALL_PARTS)
    assert (desk["html"][0], wall["html"][0]) == (16, 20)
    assert all(wall[name][0] == desk[name][0] * 1.25 for name in desk)
    assert all(wall[name][1] > desk[name][1] for name in desk)
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 1920


def test_what_opens_from_the_badge_does_not_cover_the_banners_button(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", allow=["ERR_INTERNET_DISCONNECTED"])
    tab.wait_state("connected")
    tab.go_offline()
    button, detail = tab.page.locator("#banner").get_by_role("button"), tab.page.locator("#connection-detail")
    for width in (360, 800, 1280, 1920):
        tab.page.set_viewport_size({"width": width, "height": 800})
        expect(button).to_be_visible()
        tab.page.locator(".badge-button").click()
        expect(detail).to_be_visible()
        one, other = detail.bounding_box(), button.bounding_box()
        assert one is not None
        assert other is not None
        assert one["y"] >= other["y"] + other["height"], width
        tab.page.keyboard.press("Escape")
        expect(detail).to_be_hidden()


def test_forced_colours_tell_the_current_page_and_two_lines_of_a_chart_apart(beacon: Beacon, visit: Visit) -> None:
    page = visit(beacon, "alice", "/rollout").page
    page.emulate_media(forced_colors="active")
    try:
        links = page.locator(".bar-links a").evaluate_all(
            "all => all.map((one) => [one.ariaCurrent, getComputedStyle(one).borderBottomColor])"
        )
        assert {colour for current, colour in links if current} & {
            colour for current, colour in links if not current
        } == set()
        dashes = page.evaluate(LINES)
        assert len(set(dashes)) == len(dashes) == 2
        keys = [page.locator(f".key.{name}") for name in ("streaming", "polling")]
        assert len({key.evaluate("(one) => getComputedStyle(one, '::before').borderTopStyle") for key in keys}) == 2
    finally:
        page.emulate_media(forced_colors="none")


def press_until(page: Page, done: Callable[[], bool]) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if done():
            return
    raise AssertionError("the keyboard does not get there")


def focused_text(page: Page) -> str:
    text: str = page.evaluate("document.activeElement.textContent")
    return text

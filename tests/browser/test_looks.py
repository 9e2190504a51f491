"""On a phone, with a keyboard alone, in the light and in the dark."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.beacon_process import Beacon, wait_for
from tests.browser.conftest import MakeBeacon, Visit
from tests.demo_process import DemoService

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 1}
LONG = "a-job-with-a-name-that-nobody-would-type-" * 4

FOCUSABLE = """() => {
  const all = document.querySelectorAll("a[href], button:enabled, input:enabled:not([type=hidden]), summary, [tabindex='0']");
  const reachable = [...all].filter((one) => one.checkVisibility());
  reachable.forEach((one, at) => { one.dataset.at = at; });
  return reachable.map((one) => `${one.dataset.at} ${one.outerHTML.slice(0, 120)}`);
}"""
FOCUSED = """() => {
  const one = document.activeElement;
  const box = one.getBoundingClientRect();
  return {
    at: one.dataset.at ?? null,
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


@pytest.mark.parametrize("path", ["/", "/services/mail", "/login", "/services/nobody"])
def test_no_page_scrolls_sideways_on_a_phone(troubled: Beacon, visit: Visit, path: str) -> None:
    user = None if path == "/login" else "bob"
    tab = visit(troubled, user, path, allow=["404"], **PHONE)
    if path in ("/", "/services/mail"):
        tab.wait_state("connected")
    for width in (390, 320):
        tab.page.set_viewport_size({"width": width, "height": 844})
        assert tab.page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
        beyond = tab.page.evaluate(
            """() => [...document.querySelectorAll("main *, header *, footer *")]
              .filter((one) => one.checkVisibility() && one.matches("a, button, input, h1, h2, h3, .state, .figure")
                && one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".visually-hidden, td"))
              .map((one) => one.outerHTML.slice(0, 120))"""
        )
        assert beyond == []


@pytest.mark.parametrize("path", ["/", "/services/mail"])
@pytest.mark.parametrize("phone", [False, True])
def test_the_keyboard_reaches_every_link_button_and_field_and_shows_where_it_is(
    troubled: Beacon, visit: Visit, path: str, phone: bool
) -> None:
    tab = visit(troubled, "bob", path, **(PHONE if phone else {}))
    tab.wait_state("connected")
    wanted = tab.page.evaluate(FOCUSABLE)
    assert len(wanted) > 5
    reached = []
    for _ in wanted:
        tab.page.keyboard.press("Tab")
        focused = tab.page.evaluate(FOCUSED)
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
    press_until(tab.page, lambda: tab.page.evaluate("document.activeElement.id") == "reason")
    keyboard.type("by keyboard")
    keyboard.press("Enter")
    expect(tab.page.locator("#open-items")).to_contain_text("Nothing is open")


@pytest.mark.parametrize("path", ["/", "/services/mail", "/login"])
def test_light_and_dark_both_render(beacon: Beacon, visit: Visit, path: str) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        tab = visit(beacon, None if path == "/login" else "alice", path, color_scheme=scheme)
        colours = tab.page.evaluate(
            """() => {
              const style = getComputedStyle(document.body);
              return [style.backgroundColor, style.color].map((colour) => colour.match(/[0-9.]+/g).map(Number));
            }"""
        )
        brightness[scheme] = [sum(colour[:3]) / 3 for colour in colours]
        assert len(tab.page.screenshot()) > 5_000
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


def press_until(page: Page, done: Callable[[], bool]) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if done():
            return
    raise AssertionError("the keyboard does not get there")


def focused_text(page: Page) -> str:
    text: str = page.evaluate("document.activeElement.textContent")
    return text

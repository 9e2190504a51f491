"""Single keys for what people do often; silent where somebody types."""

from playwright.sync_api import Route, expect

from tests.browser.conftest import Visit
from tests.browser.tab import until
from tests.support.beacon_server import Beacon
from tests.support.waiting import wait_for

LISTEN = (
    "() => { window.toggles = 0; document.addEventListener('beacon:pause-toggle', () => { window.toggles += 1; }); }"
)


def test_keys_search_help_pause_and_step_and_can_be_switched_off(beacon: Beacon, visit: Visit) -> None:
    beacon.publish([{"type": "test.keys", "data": {"service": "mail", "n": n}} for n in range(3)])
    tab = visit(beacon, "alice")
    tab.wait_state("connected")
    page, keyboard = tab.page, tab.page.keyboard
    page.evaluate(LISTEN)

    keyboard.press("r")  # the first key, which may have to wait for what makes keys of it
    wait_for(lambda: page.evaluate("window.toggles") == 1, "the key to be heard")
    keyboard.press("Control+/")
    assert page.evaluate("document.activeElement === document.body")

    keyboard.press("f")
    expect(page.locator("#q")).to_be_focused()
    page.evaluate("document.activeElement.blur()")
    keyboard.press("/")
    expect(page.locator("#find")).to_be_focused()
    keyboard.type("r?n/")
    expect(page.locator("#find")).to_have_value("r?n/")
    expect(page.locator("#help")).to_be_hidden()
    assert page.evaluate("window.toggles") == 1
    page.locator("#find").fill("")
    page.evaluate("document.activeElement.blur()")

    page.locator("#changes a").first.focus()
    keyboard.press("ArrowDown")
    expect(page.locator("#changes a").nth(1)).to_be_focused()
    keyboard.press("ArrowUp")
    keyboard.press("ArrowUp")
    expect(page.locator("#changes a").first).to_be_focused()

    keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    assert page.evaluate("document.querySelector('#help').parentElement === document.body")
    keyboard.press("r")
    assert page.evaluate("window.toggles") == 1
    page.get_by_label("Use single keys as shortcuts").uncheck()
    keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    keyboard.press("r")
    keyboard.press("?")
    expect(page.locator("#help")).to_be_hidden()
    assert page.evaluate("window.toggles") == 1

    page.get_by_role("button", name="Keyboard shortcuts").click()
    page.get_by_label("Use single keys as shortcuts").check()
    page.get_by_role("button", name="Close").click()
    keyboard.press("r")
    assert page.evaluate("window.toggles") == 2


def test_keys_that_are_pressed_while_their_module_is_still_loading_count(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", None, private=True)  # with an empty cache: the module has to be asked for
    held: list[Route] = []
    tab.page.route("**/keyboard*.js", lambda route: held.append(route))  # Playwright marks what it is given
    tab.goto()
    tab.wait_state("connected")
    tab.page.evaluate(LISTEN)
    for key in "rr?":
        tab.page.keyboard.press(key)
    until(tab.page, lambda: held, "the module to be asked for")
    assert tab.page.evaluate("window.toggles") == 0
    held[0].continue_()
    expect(tab.page.locator("#help")).to_be_visible()
    assert tab.page.evaluate("window.toggles") == 2

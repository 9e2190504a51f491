"""Takes pictures of pages in a real Chromium, each on a desktop and on a phone, light and dark."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, Page

Scheme = Literal["light", "dark"]
Cookies = list[dict[str, str]]
SCREENS = Path(__file__).resolve().parent.parent / "docs" / "screens"
DEVICES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


def take_each(
    browser: Browser, url: str, pages: Mapping[str, str], cookies: Cookies, *, past: str | None = None
) -> None:
    """`pages`: paths by the names of their pictures. `past`: see `take`."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    for device, options in DEVICES.items():
        for scheme in SCHEMES:
            for name, path in pages.items():
                with context(browser, scheme, options, cookies) as made:
                    take(made.new_page(), url + path, f"{name}-{device}-{scheme}", past=past)


@contextmanager
def context(browser: Browser, scheme: Scheme, options: Mapping[str, Any], cookies: Cookies) -> Iterator[BrowserContext]:
    made = browser.new_context(color_scheme=scheme, locale="en-GB", timezone_id="UTC", **options)
    made.add_cookies(cookies)  # type: ignore[arg-type]  # a TypedDict, which this matches
    yield made
    made.close()


def take(page: Page, address: str, name: str, *, past: str | None = None) -> None:
    """Take a picture of the top of the page, or of the screen that begins half a screen above `past`."""
    page.goto(address)
    if page.locator("#connection").count():
        page.wait_for_selector("html[data-connection=connected]")
    if name.startswith("panel-"):
        page.locator("#bell").click()
        page.wait_for_selector("#panel .notice")
    if past:
        page.locator(past).evaluate("one => scrollTo(0, one.getBoundingClientRect().top + scrollY - innerHeight / 2)")
    page.screenshot(path=SCREENS / f"{name}.png")

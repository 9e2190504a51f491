"""A Chromium for the figures that are measured in a page, and pages of somebody who is logged in."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from scripts.bootstrap import find_chromium
from tests.support.beacon_server import Beacon

USER = "alice"
START_MS = 20_000


@contextmanager
def chromium() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        raise RuntimeError("no Chromium on this machine")
    arguments = ["--disable-background-networking", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def logged_in(browser: Browser, beacon: Beacon) -> BrowserContext:
    """A browser of its own, with an empty cache."""
    context = browser.new_context()
    cookies = beacon.log_in(USER).cookies.items()
    context.add_cookies([{"name": name, "value": value or "", "url": beacon.url} for name, value in cookies])
    return context


def dashboard(context: BrowserContext, beacon: Beacon, state: str = "connected") -> Page:
    """A tab that shows the dashboard and follows the log."""
    page = context.new_page()
    page.goto(f"{beacon.url}/")
    wait_state(page, state)
    return page


def wait_state(page: Page, state: str) -> None:
    page.wait_for_selector(f"html[data-connection={state}]", timeout=START_MS)

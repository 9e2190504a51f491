"""Profiles of Chromium that serve one test after another: a new one costs a process and compiles every script again.

Between two tests a profile loses its cookies, its storage, its further tabs, its routes and what it emulated. What
cannot be taken back, such as an installed clock or a script for every load, needs a profile of its own.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request
from playwright.sync_api import Error as PlaywrightError

from tests.browser.tab import Tab, Trouble
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled

TIMEOUT_S = 30.0
SCREENSHOT_S = 5.0
VIEWPORT = {"width": 1280, "height": 720}
CLEAR_STORAGE = (
    "() => { try { localStorage.clear(); sessionStorage.clear(); } catch { /* a page without an origin */ } }"
)

Cookie = Any  # Playwright has one shape for what it takes and another for what it gives


@dataclass
class Profile:
    """A context with its first page, and the test that uses it now."""

    context: BrowserContext
    page: Page
    options: dict[str, Any]
    is_private: bool
    trouble: Trouble = field(default_factory=Trouble)
    beacon: Beacon | None = None
    user: str | None = None
    login: Cookie = None
    tabs: list[Tab] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.context.on("console", self._console)
        self.context.on("weberror", lambda error: self._weberror(str(error.error)))
        self.context.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        self.console.append(f"{message.type}: {message.text}")
        self.trouble.hear_console(message)

    def _weberror(self, text: str) -> None:
        self.console.append(f"uncaught: {text}")
        self.trouble.note(f"uncaught: {text}")

    def _request(self, request: Request) -> None:
        if self.beacon:
            self.trouble.hear_request(request, self.beacon.url.removeprefix("http://"))

    def keep(self, folder: Path, name: str) -> list[str]:
        """A screenshot of each page and the text of their consoles, and where they are."""
        lines = []
        for number, page in enumerate(self.context.pages):
            try:
                # Written here: with a path Playwright starts a thread for it that stays.
                picture = folder / f"{name}-{number}.png"
                picture.write_bytes(page.screenshot(timeout=scaled(SCREENSHOT_S) * 1_000))
                lines.append(f"{page.url}: {picture}")
            except PlaywrightError as error:
                lines.append(f"{page.url}: no screenshot, {error.message.splitlines()[0]}")
        console = folder / f"{name}-console.txt"
        console.write_text("\n".join(self.console))
        return [*lines, f"console of {self.user or 'nobody'}: {console}"]

    def empty(self) -> bool:
        """Whether nothing of the test is left in it."""
        if self.is_private or self.page.is_closed():
            return False
        try:
            for page in self.context.pages:
                if page is not self.page:
                    page.close()
            if self.options.get("java_script_enabled", True):
                self.page.evaluate(CLEAR_STORAGE)
            self.page.goto("about:blank")
            self.page.unroute_all(behavior="ignoreErrors")
            self.context.unroute_all(behavior="ignoreErrors")
            self.context.set_offline(False)
            self.context.clear_cookies()
            self.page.mouse.move(0, 0)
            if "color_scheme" not in self.options:
                self.page.emulate_media(color_scheme="light", reduced_motion="no-preference")
            viewport = self.options.get("viewport", VIEWPORT)
            if self.page.viewport_size != viewport:
                self.page.set_viewport_size(viewport)
        except PlaywrightError:
            return False
        return True


class Profiles:
    """Free profiles by their options, and free logins by server and person."""

    def __init__(self, browser: Browser, *, trace: bool) -> None:
        self._browser, self._trace = browser, trace
        self._free: dict[str, list[Profile]] = defaultdict(list)
        self._logins: dict[tuple[Path, str], list[Cookie]] = defaultdict(list)
        self.used: list[Profile] = []

    def take(self, beacon: Beacon, user: str | None, trouble: Trouble, *, private: bool, **options: Any) -> Profile:
        # An answer to the person before may still set a cookie; one for nobody must have none.
        free = [] if private or user is None else self._free[_key(options)]
        profile = free.pop() if free else self._make(options, private=private)
        profile.beacon, profile.user, profile.trouble = beacon, user, trouble
        profile.tabs, profile.console = [], []
        self.used.append(profile)
        if user is not None:
            free_logins = self._logins[beacon.folder, user]
            profile.login = free_logins.pop() if free_logins else login(beacon, user)
            profile.context.add_cookies([profile.login])
        if self._trace:
            profile.context.tracing.start_chunk()
        return profile

    def give_back(self, traces: Path) -> list[Path]:
        """All that the test used; the traces of what happened in them."""
        kept = []
        while self.used:
            profile = self.used.pop()
            if self._trace and _is_open(profile):
                kept.append(traces / f"trace-{len(self.used)}.zip")
                profile.context.tracing.stop_chunk(path=kept[-1])
            self._keep_login(profile)
            profile.beacon, profile.trouble = None, Trouble(allowed=["."])
            for tab in profile.tabs:
                tab.forget()
            if profile.empty():
                self._free[_key(profile.options)].append(profile)
            else:
                profile.context.close()
        return kept

    def forget(self, beacon: Beacon) -> None:
        for key in [key for key in self._logins if key[0] == beacon.folder]:
            del self._logins[key]

    def trace_nothing(self, folder: Path) -> None:
        """Starts the thread in which Playwright writes traces, so that it is not one that a test leaves behind."""
        context = self._browser.new_context()
        context.tracing.start()
        context.tracing.stop(path=folder / "nothing.zip")
        context.close()

    def close(self) -> None:
        for free in self._free.values():
            while free:
                free.pop().context.close()

    def _make(self, options: dict[str, Any], *, private: bool) -> Profile:
        context = self._browser.new_context(**options)
        context.set_default_timeout(scaled(TIMEOUT_S) * 1_000)
        if self._trace:
            context.tracing.start(screenshots=True, snapshots=True)
        profile = Profile(context, context.new_page(), options, private)
        profile.watch()
        return profile

    def _keep_login(self, profile: Profile) -> None:
        """For the next test of this person, unless this one logged out."""
        if profile.beacon and profile.user is not None and _is_open(profile):
            cookies = {cookie.get("name"): cookie.get("value") for cookie in profile.context.cookies()}
            if cookies.get(profile.login["name"]) == profile.login["value"]:
                self._logins[profile.beacon.folder, profile.user].append(profile.login)


def login(beacon: Beacon, user: str) -> Cookie:
    """The login of a session that went through the form."""
    with beacon.log_in(user) as session:
        value = session.cookies["beacon"]
    return {"name": "beacon", "value": value, "url": beacon.url, "httpOnly": True, "sameSite": "Lax"}


def _key(options: dict[str, Any]) -> str:
    return repr(sorted(options.items()))


def _is_open(profile: Profile) -> bool:
    return bool(profile.context.pages)

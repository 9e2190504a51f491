"""A tab as a test sees it: what it shows, what it asked for, and what went wrong in it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, Response, Route, expect

from app.eventlog.models import build_activity_condition
from app.web.dashboard.change_rows import UNLISTED_TYPES
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled
from tests.support.waiting import wait_for

LIST_LENGTH = 50
PATIENCE_S = 20.0  # for what has no promised time

# Notes when each change reached the screen, on the clock that this machine's processes share.
NOTE_ARRIVALS = """() => {
  window.arrivals = {};
  const look = () => {
    for (const row of document.querySelectorAll("#changes > [data-id]")) {
      window.arrivals[row.dataset.id] ??= (performance.timeOrigin + performance.now()) / 1000;
    }
  };
  look();
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
}"""

NOTE_STATES = """() => {
  const root = document.documentElement;
  window.states = [];
  const note = () => {
    const state = root.dataset.connection;
    if (window.states.at(-1)?.state !== state) window.states.push({ state, at: Date.now() / 1_000 });
  };
  new MutationObserver(note).observe(root, { attributeFilter: ["data-connection"] });
}"""

# Everything that the page's own scripts read from the network, streams included.
HEAR = """() => {
  window.heard = "";
  const ask = window.fetch;
  window.fetch = async (...request) => {
    const response = await ask(...request);
    const copy = response.clone().body?.pipeThrough(new TextDecoderStream()).getReader();
    const drain = async () => { for (let part; copy && !(part = await copy.read()).done;) window.heard += part.value; };
    drain().catch(() => {});
    return response;
  };
}"""


def intercept(page: Page, pattern: str, answer: Callable[[Route], Any]) -> None:
    """Of a page that is open: its very next request meets the route.

    When `route` returns, Chromium may still let the page's next request pass; so this waits until one was stopped.
    """
    probe = "**/healthz"
    page.route(probe, lambda route: route.fulfill(status=204))
    page.wait_for_function(
        "() => fetch('/healthz').then(({ status }) => status === 204)", timeout=scaled(PATIENCE_S) * 1_000
    )
    page.route(pattern, answer)
    page.unroute(probe)


def until(page: Page, look: Callable[[], Any], what: str) -> Any:
    """For what a route or a listener notes: Playwright calls them only while it is called itself."""
    return wait_for(lambda: page.evaluate("1") and look(), what)


@dataclass
class Trouble:
    """What may not happen in any tab: errors in the console, and requests to anybody else."""

    allowed: Sequence[str] = ()
    seen: list[str] = field(default_factory=list)

    def hear_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.note(f"console: {message.text}")

    def hear_request(self, request: Request, host: str) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.netloc != host:
            self.note(f"request to {request.url}")

    def note(self, text: str) -> None:
        if not any(re.search(pattern, text) for pattern in self.allowed):
            self.seen.append(text)


class Tab:
    """One page of one person; `asked` grows with every request that it sends."""

    def __init__(self, page: Page, beacon: Beacon, user: str, trouble: Trouble) -> None:
        self.page, self.beacon, self.user, self.trouble = page, beacon, user, trouble
        self.asked: list[str] = []
        page.on("request", self._note)

    def forget(self) -> None:
        """The page goes to another test."""
        if not self.page.is_closed():
            self.page.remove_listener("request", self._note)

    def goto(self, path: str = "/") -> Response:
        response = self.page.goto(self.beacon.url + path)
        assert response is not None
        return response

    def beside(self, path: str = "/") -> "Tab":
        """Another tab of the same browser, with the same login."""
        tab = Tab(self.page.context.new_page(), self.beacon, self.user, self.trouble)
        tab.goto(path)
        return tab

    @property
    def badge(self) -> Locator:
        return self.page.locator("#connection")

    def wait_state(self, state: str, within_s: float = PATIENCE_S) -> None:
        html = self.page.locator("html")
        expect(html).to_have_attribute("data-connection", state, timeout=scaled(within_s) * 1_000)

    def go_offline(self) -> None:
        """Once the page has all its parts: those that come at its first use would be missed in the console."""
        self.load_rest()
        self.page.context.set_offline(True)

    def load_rest(self) -> None:
        """What the page loads when it is first used, here without a pointer over anything."""
        self.page.evaluate("dispatchEvent(new Event('wheel'))")
        for part in ("#help", "#connection-detail dl", "#toasts > [role=alert]", "link[href$='/panel.css']"):
            expect(self.page.locator(part)).to_be_attached(timeout=scaled(PATIENCE_S) * 1_000)
        self.page.wait_for_function("document.querySelector(\"link[href$='/panel.css']\").sheet")

    def wait_change(self, event_id: int, within_s: float = PATIENCE_S) -> None:
        expect(self.page.locator(f"#change-{event_id}")).to_be_visible(timeout=scaled(within_s) * 1_000)

    def change_ids(self) -> list[int]:
        """The ids in the list of changes, in their order on the screen."""
        ids: list[int] = self.page.locator("#changes > [data-id]").evaluate_all(
            "rows => rows.map((row) => Number(row.dataset.id))"
        )
        return ids

    def wait_right(self, within_s: float = PATIENCE_S) -> None:
        """The list shows the newest changes of the log, each once, newest first."""

        def look() -> bool:
            return self.change_ids() == listed_ids(self.beacon, self.user)

        try:
            wait_for(look, "the page to list what the log does", within_s, every_s=0.05)
        except AssertionError as error:
            raise AssertionError(
                f"the page lists {self.change_ids()} and the log {listed_ids(self.beacon, self.user)}"
            ) from error

    def tile(self, service: str) -> Locator:
        return self.page.locator(f"#tile-{service}")

    def figure(self, service: str, state: str) -> Locator:
        return self.tile(service).locator(f"[data-figure={state}] dd")

    def mark(self) -> None:
        """Leave something behind that a reload would wipe away."""
        self.page.evaluate("window.marked = true")

    @property
    def was_reloaded(self) -> bool:
        return not self.page.evaluate("window.marked === true")

    def note_arrivals(self) -> None:
        self.page.evaluate(NOTE_ARRIVALS)

    def arrived(self, event_id: int) -> float:
        """When this change reached the screen, in seconds since 1970."""
        self.wait_change(event_id)
        at: float = self.page.evaluate("(id) => window.arrivals[id]", str(event_id))
        return at

    def note_states(self) -> None:
        """Collect the states of the connection from here on."""
        self.page.evaluate(NOTE_STATES)

    def states(self) -> list[str]:
        found: list[str] = self.page.evaluate("window.states.map(({ state }) => state)")
        return found

    def reached_at(self, state: str) -> float:
        """When it came to this state last, in seconds since 1970: the driver may look at many pages, one by one."""
        found: float = self.page.evaluate("(state) => window.states.findLast((one) => one.state === state).at", state)
        return found

    def heard(self) -> str:
        """What the scripts of a page that was opened with `hear=True` have read from the network."""
        found: str = self.page.evaluate("window.heard")
        return found

    def asked_since(self, number: int) -> list[str]:
        """After so many requests; modules that come just after the page are none of its questions."""
        return [url for url in self.asked[number:] if "/static/" not in url]

    def asked_for(self, path: str) -> int:
        return sum(urlsplit(url).path == path for url in self.asked)

    def _note(self, request: Request) -> None:
        self.asked.append(request.url)


def listed_ids(beacon: Beacon, user: str, limit: int = LIST_LENGTH) -> list[int]:
    """The newest changes that this viewer's list should show, from the table itself."""
    unlisted = ", ".join(f"'{name}'" for name in sorted(UNLISTED_TYPES))
    rows: list[tuple[Any, ...]] = beacon.sql(
        f"SELECT id FROM event WHERE type NOT IN ({unlisted}) AND {build_activity_condition('sqlite')}"
        " AND audience IN ('everyone', 'role:viewer', ?)"
        " ORDER BY id DESC LIMIT ?",
        f"user:{user}",
        limit,
    )
    return [row[0] for row in rows]

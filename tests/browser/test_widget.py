"""The widget inside pages of other origins: whom it shows, whom it listens to, how fresh it says it is."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from itsdangerous import TimestampSigner
from playwright.sync_api import FrameLocator, Page, Request, expect

from app.accounts import tokens, users
from app.db import read
from tests.browser.conftest import FALLBACK_POLL_S, Visit, end
from tests.browser.tab import Tab
from tests.notifications.scene import notice
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled

# What a page of another site does to a console that is watched for requests to anybody else, and for refusals.
EXPECTED = [r"request to http://(localhost|127\.0\.0\.1)", r"401", r"favicon"]

PAGE = """<!doctype html><title>Host</title>
<iframe id="w" title="w" src="BEACON/widgets/notifications" width="380" height="500"></iframe>
<script>
  const tokens = TOKENS;
  window.asked = 0;
  addEventListener("message", (event) => {
    if (event.origin !== "BEACON" || event.data.type !== "beacon:widget-ready") return;
    window.asked += 1;
    const token = tokens.shift();
    if (token) event.source.postMessage({ type: "beacon:widget-token", token }, "BEACON");
  });
</script>"""

# Another page in the same host's page reaches over to the widget, before the host itself has said anything.
INTRUDING = """<iframe id="x" title="x" srcdoc="<script>
  const data = { type: 'beacon:widget-token', token: 'STOLEN' };
  parent.frames[0].postMessage(data, '*');
  parent.postMessage('done', '*');
</script>"></iframe>"""


@dataclass
class Site:
    """A web server that embeds the widget: as `localhost` it is another site than Beacon's 127.0.0.1."""

    beacon: Beacon
    server: ThreadingHTTPServer

    def page(self, *given: str) -> None:
        """Its page hands over these tokens, one each time it is asked."""
        Handler.page = PAGE.replace("BEACON", self.beacon.url).replace("TOKENS", json.dumps(given)).encode()

    def address(self, name: str = "localhost") -> str:
        return f"http://{name}:{self.server.server_port}"

    def open(self, tab: Tab, *given: str, name: str = "localhost") -> FrameLocator:
        self.page(*given)
        tab.page.goto(self.address(name))
        return tab.page.frame_locator("#w")


class Handler(BaseHTTPRequestHandler):
    page = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.page)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    origins = " ".join(f"http://{name}:{server.server_port}" for name in ("localhost", "127.0.0.1"))
    beacon = Beacon(
        tmp_path_factory.mktemp("beacon"), background=0, FALLBACK_POLL_S=FALLBACK_POLL_S, WIDGET_ORIGINS=origins
    )
    beacon.start()
    yield Site(beacon, server)
    server.shutdown()
    server.server_close()
    end(beacon)


@pytest.fixture
def stranger(site: Site, visit: Visit) -> Tab:
    """A browser in which nobody is logged in to Beacon."""
    return visit(site.beacon, None, None, allow=EXPECTED)


def token_of(site: Site, user: str, ago_s: int = 0) -> str:
    """A widget's token as Beacon gives them out; one from `ago_s` seconds ago."""

    def moment(_signer: TimestampSigner) -> int:
        return int(time.time()) - ago_s

    with pytest.MonkeyPatch.context() as patch, site.beacon.app.app_context(), read() as session:
        patch.setattr(TimestampSigner, "get_timestamp", moment)
        return tokens.create_widget_token(users.find(session, user))


def credentials(page: Page) -> list[str]:
    """The tokens with which the page's widget asks, as they come."""
    seen: list[str] = []

    def note(request: Request) -> None:
        seen.append(request.headers.get("authorization", "").removeprefix("Bearer "))

    page.on("request", note)
    return seen


def shows(widget: FrameLocator, title: str) -> None:
    expect(widget.locator(".notice-title", has_text=title)).to_be_visible()


def test_it_shows_whom_the_token_names_and_marks_read(site: Site, stranger: Tab) -> None:
    notice(site.beacon.app, "user:alice", "w:1", "Only for Alice")
    notice(site.beacon.app, "user:charlie", "w:2", "Only for Charlie")
    asked = requests.post(
        f"{site.beacon.url}/api/widgets/token",
        json={"user": "alice"},
        headers=site.beacon.bearer("ada", "admin"),
        timeout=scaled(10),
    )
    widget = site.open(stranger, asked.json()["token"])
    shows(widget, "Only for Alice")
    expect(widget.locator(".notice-title", has_text="Only for Charlie")).to_have_count(0)
    read_all = widget.get_by_role("button", name="Mark all read")
    read_all.click()
    expect(read_all).to_be_disabled()
    expect(widget.locator("#widget-status")).to_have_text("Marked as read.")


def test_what_is_new_comes_by_itself_and_the_age_of_the_last_look_is_said(site: Site, stranger: Tab) -> None:
    widget = site.open(stranger, token_of(site, "alice"))
    expect(widget.locator("#widget-fresh")).to_have_text("Checked 0 s ago")
    count = widget.locator("#widget-count")
    before = int((count.text_content() or "0").split()[0] or 0) if count.is_visible() else 0
    notice(site.beacon.app, "user:alice", "w:3", "Came later")
    shows(widget, "Came later")
    expect(count).to_have_text(f"{before + 1} unread")
    widget.get_by_role("button", name="Mark all read").click()
    expect(count).to_be_hidden()


def test_it_says_that_beacon_cannot_be_reached_and_since_when(site: Site, stranger: Tab) -> None:
    stranger.trouble.allowed = [*EXPECTED, r"ERR_FAILED"]
    notice(site.beacon.app, "user:alice", "w:4", "From before")
    widget = site.open(stranger, token_of(site, "alice"))
    shows(widget, "From before")
    stranger.page.route("**/notifications/content", lambda route: route.abort())
    line, said = widget.locator("#widget-fresh"), widget.locator("#widget-status")
    expect(line).to_contain_text("Beacon cannot be reached, checked")
    expect(line).to_have_attribute("data-state", "offline")
    expect(said).to_have_text("Beacon cannot be reached. What you see is from before.")
    expect(line).not_to_contain_text("0 s ago")
    shows(widget, "From before")
    stranger.page.unroute("**/notifications/content")
    expect(line).to_have_text("Checked 0 s ago")
    expect(said).to_have_text("Beacon answers again.")


def test_on_the_same_site_the_session_fills_it_without_a_token(site: Site, visit: Visit) -> None:
    notice(site.beacon.app, "user:alice", "w:5", "By her session")
    alice = visit(site.beacon, "alice", None, allow=EXPECTED)
    widget = site.open(alice, name="127.0.0.1")
    shows(widget, "By her session")
    read_all = widget.get_by_role("button", name="Mark all read")
    read_all.click()
    expect(read_all).to_be_disabled()
    assert alice.page.evaluate("window.asked") == 0


def test_on_another_site_the_session_does_not(site: Site, visit: Visit) -> None:
    alice = visit(site.beacon, "alice", None, allow=EXPECTED)
    widget = site.open(alice)
    alice.page.wait_for_function("window.asked > 1")  # the host gets every chance
    expect(widget.get_by_role("link", name="Open Beacon")).to_be_visible()
    expect(widget.locator(".notice-title")).to_have_count(0)
    expect(widget.locator("#widget-fresh")).to_be_hidden()


def test_a_token_that_has_ended_makes_it_ask_for_another(site: Site, stranger: Tab) -> None:
    notice(site.beacon.app, "user:alice", "w:6", "With the second token")
    ended, good = token_of(site, "alice", ago_s=tokens.WIDGET_TOKEN_S + 1), token_of(site, "alice")
    seen = credentials(stranger.page)
    shows(site.open(stranger, ended, good), "With the second token")
    assert ended in seen
    assert seen[-1] == good


def test_it_asks_for_another_token_before_its_own_ends(site: Site, visit: Visit) -> None:
    stranger = visit(site.beacon, None, None, allow=EXPECTED, private=True)
    first, second = token_of(site, "alice", ago_s=1), token_of(site, "alice")
    stranger.page.clock.install()
    seen = credentials(stranger.page)
    widget = site.open(stranger, first, second)
    expect(widget.locator(".notices")).to_be_visible()
    assert stranger.page.evaluate("window.asked") == 1
    widget.locator("body").evaluate(
        "() => { new MutationObserver(() => { window.emptied ||= !document.querySelector('.notices'); })"
        ".observe(document.body, { childList: true, subtree: true }); }"
    )
    stranger.page.clock.fast_forward((tokens.WIDGET_TOKEN_S - 60) * 1_000)
    with stranger.page.expect_request(lambda request: second in request.headers.get("authorization", "")):
        stranger.page.clock.run_for(1_000)
    assert first in seen
    assert not widget.locator("body").evaluate("window.emptied")


def test_a_token_from_anybody_but_the_page_around_is_not_taken(site: Site, stranger: Tab) -> None:
    notice(site.beacon.app, "user:alice", "w:7", "For her alone")
    stolen, own = token_of(site, "charlie"), token_of(site, "alice")
    seen = credentials(stranger.page)
    widget = site.open(stranger)
    expect(widget.get_by_role("link", name="Open Beacon")).to_be_visible()
    stranger.page.evaluate(
        """([markup, token, beacon]) => new Promise((done) => {
            addEventListener("message", (event) => {
              if (event.data !== "done") return;
              window.frames[0].postMessage({ type: "beacon:widget-token", token }, beacon);
              done();
            });
            document.body.insertAdjacentHTML("beforeend", markup);
        })""",
        [INTRUDING.replace("STOLEN", stolen), own, site.beacon.url],
    )
    shows(widget, "For her alone")
    assert own in seen
    assert stolen not in seen


def test_it_is_not_shown_on_a_site_that_is_not_named(site: Site, visit: Visit) -> None:
    tab = visit(site.beacon, "alice", None, allow=[*EXPECTED, r"frame-ancestors", r"request to http://other"])
    with tab.page.expect_console_message(lambda message: "frame-ancestors" in message.text):
        widget = site.open(tab, token_of(site, "alice"), name="other.localhost")
    expect(widget.locator("#widget-body")).to_have_count(0)


def test_on_its_own_it_shows_whoever_is_logged_in(site: Site, visit: Visit) -> None:
    notice(site.beacon.app, "user:alice", "w:8", "In my own widget")
    alice = visit(site.beacon, "alice", "/widgets/notifications")
    expect(alice.page.locator(".notice-title", has_text="In my own widget")).to_be_visible()
    charlie = visit(site.beacon, "charlie", "/widgets/notifications")
    expect(charlie.page.get_by_role("link", name="All notifications")).to_be_visible()
    expect(charlie.page.locator(".notice-title", has_text="In my own widget")).to_have_count(0)

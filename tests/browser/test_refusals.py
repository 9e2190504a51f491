"""What a page does when its stream is refused, ended or not meant for it, to the second."""

import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import MakeBeacon, Visit
from tests.browser.fault_proxy import FaultProxy, refusal
from tests.browser.tab import Tab, intercept
from tests.support.beacon_server import Beacon
from tests.support.waiting import wait_for

AWAY = "Failed to load resource"
PROXIED = r"request to http://127\.0\.0\.1"
EVENTS, TOKEN = "/api/stream/events", "/api/stream/token"
NOTE_ADDED = """() => {
  window.added = [];
  const note = (changes) => {
    for (const { addedNodes } of changes) for (const row of addedNodes) window.added.push(row.dataset?.id);
  };
  new MutationObserver(note).observe(document.getElementById("changes"), { childList: true });
}"""
# Longer than the pauses before the first and the second of five attempts to connect (policy.js), with their spread.
FIRST_PAUSE_MS, SECOND_PAUSE_MS = 1_300, 2_500
QUIET_MS = 20_000  # the five attempts and many polls; what Beacon costs is asked for every half minute
UNAUTHORISED = refusal("401 Unauthorized")


@pytest.fixture
def proxy(beacon: Beacon) -> Iterator[FaultProxy]:
    with FaultProxy(beacon.port) as running:
        yield running


class Watched(Tab):
    """A tab behind the proxy, and what it says in its console."""

    def __init__(self, tab: Tab) -> None:
        super().__init__(tab.page, tab.beacon, tab.user, tab.trouble)
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))

    def wait_said(self, pattern: str) -> re.Match[str]:
        """The first line since `said` was cleared that matches."""

        def look() -> re.Match[str] | None:
            self.page.evaluate("1")  # what happened until now is heard
            return next((found for line in self.said if (found := re.search(pattern, line))), None)

        try:
            found = wait_for(look, pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.said}") from None
        assert found
        return found


def through(visit: Visit, beacon: Beacon, proxy: FaultProxy, *, clock: bool = False) -> Watched:
    tab = Watched(visit(beacon, "alice", None, allow=[AWAY, PROXIED], private=clock))
    if clock:
        tab.page.clock.install()
    tab.page.goto(proxy.url)
    tab.wait_state("connected")
    tab.said.clear()
    return tab


def test_a_token_that_has_expired_is_replaced_once_and_nobody_notices(
    beacon: Beacon, visit: Visit, proxy: FaultProxy
) -> None:
    tab = through(visit, beacon, proxy)
    assert tab.asked_for(TOKEN) == 1
    proxy.answers.append(UNAUTHORISED)
    proxy.cut()
    tab.wait_said(r"connected \(live\)")
    tab.wait_state("connected")
    assert tab.asked_for(TOKEN) == 2
    assert tab.asked_for(EVENTS) == 3
    [event_id] = beacon.publish([{"type": "with.a.fresh.token", "data": {}}])
    tab.wait_change(event_id)


def test_a_token_that_the_page_knows_to_be_old_is_not_even_tried(
    beacon: Beacon, visit: Visit, proxy: FaultProxy
) -> None:
    tab = through(visit, beacon, proxy, clock=True)
    tab.page.clock.pause_at(tab.page.evaluate("Date.now() / 1000 + 1"))
    proxy.cut()  # a stream that went on would need no token, however old
    tab.wait_said("next attempt in")
    tab.page.clock.fast_forward(300_000)  # a lid was closed for as long as a token lasts
    tab.page.clock.resume()
    tab.wait_said("the server said hello")
    tab.wait_state("connected")
    assert tab.asked_for(TOKEN) == 2
    assert tab.asked_for(EVENTS) == 2


def test_a_login_that_the_server_refuses_twice_is_signed_out_with_a_link(
    beacon: Beacon, visit: Visit, proxy: FaultProxy
) -> None:
    tab = through(visit, beacon, proxy)
    proxy.answers.extend([UNAUTHORISED, UNAUTHORISED])
    proxy.cut()
    tab.wait_state("offline")
    expect(tab.badge.get_by_role("link", name="Signed out: log in")).to_have_attribute("href", "/login?next=%2F")
    expect(tab.page.locator("#banner")).to_contain_text("Signed out since")
    assert tab.asked_for(TOKEN) == 2
    assert tab.asked_for(EVENTS) == 3


@pytest.mark.parametrize(
    "status", ["503 Service Unavailable", pytest.param("429 Too Many Requests", marks=pytest.mark.long)]
)
def test_retry_after_is_obeyed_to_the_second_and_the_page_polls_meanwhile(
    beacon: Beacon, visit: Visit, proxy: FaultProxy, status: str
) -> None:
    tab = through(visit, beacon, proxy, clock=True)
    tab.page.clock.pause_at(tab.page.evaluate("Date.now() / 1000 + 1"))
    proxy.answers.append(refusal(status, "Retry-After: 47"))
    proxy.cut()
    delay = float(tab.wait_said(r"next attempt in ([\d.]+) s")[1])
    assert 0.8 <= delay <= 1.2  # the first of five, before anybody named a time
    [missed] = beacon.publish([{"type": "while.refused", "data": {}}])
    tab.said.clear()
    tab.page.clock.run_for(1_300)
    assert tab.wait_said(r"next attempt in ([\d.]+) s")[1] == "47.0"
    tab.wait_change(missed)  # by the poll that goes with the failure
    attempts = tab.asked_for(EVENTS)
    tab.wait_said("polled up to event")
    tab.said.clear()
    tab.page.clock.fast_forward(46_000)
    tab.wait_said("awake again")  # which otherwise hurries what waits
    tab.page.clock.run_for(400)
    tab.wait_said("polled up to event")
    assert tab.asked_for(EVENTS) == attempts, "it came before its time"
    tab.page.clock.run_for(1_200)
    tab.wait_state("connected")
    assert tab.asked_for(EVENTS) == attempts + 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refusal("302 Found", "Location: /login"), "stream: redirect"),
        (b"", "stream: "),
        pytest.param(
            refusal("200 OK", "Content-Type: application/json"), "stream: 200 wrong-type", marks=pytest.mark.long
        ),
        pytest.param(refusal("500 Internal Server Error"), "stream: 500 refused", marks=pytest.mark.long),
        pytest.param(refusal("403 Forbidden"), "stream: 403 refused", marks=pytest.mark.long),
    ],
)
def test_whatever_else_answers_is_one_failure_that_can_be_read_at_the_badge_and_is_forgiven(
    beacon: Beacon, visit: Visit, proxy: FaultProxy, answer: bytes, reason: str
) -> None:
    tab = through(visit, beacon, proxy, clock=True)
    proxy.answers.append(answer)
    proxy.cut()
    tab.wait_said("next attempt in")
    tab.page.clock.run_for(FIRST_PAUSE_MS)
    tab.wait_said(re.escape(reason))
    tab.wait_said(r"next attempt in (1\.[6-9]|2\.[0-4]) s")  # the second of five
    tab.page.clock.run_for(SECOND_PAUSE_MS)
    tab.wait_state("connected")
    tab.page.locator("#connection button").click()
    tab.page.get_by_text("Recent errors").click()
    expect(tab.page.locator("[data-part=error-list]")).to_contain_text(reason)
    [event_id] = beacon.publish([{"type": "after.the.refusal", "data": {}}])
    tab.wait_change(event_id)
    assert all(re.match(r"\[SSE\] \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", line) for line in tab.said if "[SSE]" in line)


@pytest.mark.parametrize(
    "reason", ["drain", "revoked", *(pytest.param(each, marks=pytest.mark.long) for each in ("lifetime", "slow"))]
)
def test_a_goodbye_is_followed_by_a_new_stream_and_is_no_failure(
    beacon: Beacon, visit: Visit, proxy: FaultProxy, reason: str
) -> None:
    pauses = reason != "revoked"
    tab = through(visit, beacon, proxy, clock=pauses)
    tab.mark()
    tokens = tab.asked_for(TOKEN)
    proxy.say(f'event: bye\ndata: {{"reason":"{reason}","poll":false}}\n\n')
    tab.wait_said(rf"reconnecting \({reason}\)")
    if pauses:
        tab.page.clock.run_for(FIRST_PAUSE_MS)
    tab.wait_said(r"connected \(live\)")
    assert tab.asked_for(TOKEN) == tokens + (reason == "revoked")
    assert tab.asked_for("/api/events/frames") == 0
    tab.page.locator("#connection button").click()
    expect(tab.page.locator("#connection-detail")).to_contain_text("Changes show the moment they happen.")
    expect(tab.page.get_by_text("Recent errors")).to_be_hidden()
    [event_id] = beacon.publish([{"type": "after.the.goodbye", "data": {}}])
    tab.wait_change(event_id)
    assert not tab.was_reloaded


def test_streams_that_end_with_their_lifetime_lose_and_double_nothing(start_beacon: MakeBeacon, visit: Visit) -> None:
    beacon = start_beacon(STREAM_LIFETIME_S=0.5)
    tab = visit(beacon, "alice", None, private=True)
    tab.page.clock.install()
    tab.goto()
    tab.wait_state("connected")
    tab.page.evaluate(NOTE_ADDED)
    ids: list[int] = []

    def third_stream() -> bool:
        ids.extend(beacon.publish([{"type": "steady", "data": {}}]))
        if tab.page.locator("html").get_attribute("data-connection") == "reconnecting":
            tab.page.clock.run_for(FIRST_PAUSE_MS)
        return tab.asked_for(EVENTS) >= 3

    wait_for(third_stream, "a third stream", within_s=30, every_s=0.1)
    tab.wait_change(ids[-1])
    added = [int(one) for one in tab.page.evaluate("window.added.filter(Boolean)")]
    assert [one for one in added if one in ids] == ids


@pytest.mark.parametrize("where", ["hello", "token"])
def test_a_stream_or_token_for_somebody_else_stops_the_page_before_anything_is_shown(
    beacon: Beacon, visit: Visit, proxy: FaultProxy, where: str
) -> None:
    tab = through(visit, beacon, proxy, clock=True)
    session = tab.page.locator("body").get_attribute("data-session") or ""
    assert session
    if where == "hello":
        proxy.swap = (session.encode(), b"f" * len(session))
    else:
        intercept(tab.page, f"**{TOKEN}", lambda route: answer_for_another(route))
        proxy.answers.append(UNAUTHORISED)
    proxy.cut()
    tab.wait_said("next attempt in")
    tab.page.clock.run_for(FIRST_PAUSE_MS)
    tab.wait_state("offline")
    expect(tab.page.locator("#banner")).to_contain_text("Now signed in as")
    expect(tab.page.locator("#banner").get_by_role("button", name="Reload")).to_be_visible()
    listed = tab.change_ids()
    asked = len(tab.asked)
    beacon.publish([{"type": "for.somebody.else", "data": {}}])
    tab.page.clock.run_for(QUIET_MS)  # in which an attempt would follow
    tab.page.wait_for_timeout(500)  # in which a stream that is open would bring the event
    # Who is logged in now may be asked again, when somebody looks at the page.
    assert {urlsplit(url).path for url in tab.asked_since(asked)} <= {"/"}
    assert tab.change_ids() == listed


def answer_for_another(route: Route) -> None:
    body = json.dumps({"token": "t", "session": "f" * 16, "expiresInS": 300})
    route.fulfill(status=200, content_type="application/json", body=body)

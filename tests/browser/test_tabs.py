"""One stream for all tabs of a browser, whichever of them goes away, and never one for two people."""

import re
import time

from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.profiles import login
from tests.browser.tab import PATIENCE_S, Tab, intercept
from tests.support.beacon_server import Beacon
from tests.support.machine import ROOM_S, scaled
from tests.support.waiting import wait_for

TABS = 4
HIDE = """(state) => {
  Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
  Object.defineProperty(document, "hidden", { configurable: true, get: () => state === "hidden" });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
# Busy until a cookie says otherwise: the only thing that a page sees while its thread is held.
BLOCK = """(ms) => setTimeout(() => {
  for (const end = Date.now() + ms; Date.now() < end && !document.cookie.includes("thaw=yes"););
})"""
EAVESDROP = """() => {
  window.overheard = [];
  const { session, build } = document.body.dataset;
  const channel = new BroadcastChannel(`beacon ${session} ${build}`);
  channel.addEventListener("message", (event) => window.overheard.push(JSON.stringify(event.data)));
}"""
WITHOUT_LOCKS = "delete Navigator.prototype.locks"


def role(tab: Tab) -> str:
    found: str = tab.page.evaluate("document.documentElement.dataset.role")
    return found


def leader_of(tabs: list[Tab]) -> Tab:
    [leader] = wait_for(lambda: [tab for tab in tabs if role(tab) == "leader"], "a leader")
    return leader


def streams(tabs: list[Tab]) -> int:
    return sum(tab.asked_for("/api/stream/events") for tab in tabs)


def publish(beacon: Beacon, name: str) -> int:
    return beacon.publish([{"type": name, "data": {}}])[-1]


def test_tabs_follow_one_stream_and_a_closed_leader_is_replaced_within_a_second(beacon: Beacon, visit: Visit) -> None:
    first = visit(beacon, "alice")
    tabs = [first, *(first.beside() for _ in range(TABS - 1))]
    for tab in tabs:
        tab.wait_state("connected")
    event_id = publish(beacon, "to.all")
    for tab in tabs:
        tab.wait_change(event_id)
    assert streams(tabs) == 1
    assert sum(tab.asked_for("/api/stream/token") for tab in tabs) == 1

    leader = leader_of(tabs)
    rest = [tab for tab in tabs if tab is not leader]
    rest[0].note_arrivals()
    leader.page.close()
    closed = time.time()
    event_id = publish(beacon, "after.the.leader")
    assert rest[0].arrived(event_id) - closed < scaled(1 + ROOM_S)
    for tab in rest:
        tab.wait_right()
    assert streams(rest) == 1
    assert leader_of(rest) in rest


def test_the_channel_carries_frames_and_states_and_never_a_token(beacon: Beacon, visit: Visit) -> None:
    first = visit(beacon, "alice", None, hear=True, allow=["ERR_INTERNET_DISCONNECTED"])
    said: list[str] = []
    first.goto()
    first.wait_state("connected")
    other = first.beside()
    other.page.on("console", lambda message: said.append(message.text))
    other.wait_state("connected")
    other.page.evaluate(EAVESDROP)
    event_id = publish(beacon, "overheard")
    other.wait_change(event_id)
    first.go_offline()
    other.wait_state("offline")
    first.page.context.set_offline(False)
    other.wait_state("connected")
    overheard = other.page.evaluate("window.overheard.join('\\n')")
    assert {"frame", "state"} <= set(other.page.evaluate("window.overheard.map((one) => JSON.parse(one).kind)"))
    tokens = re.findall(r'"token":\s*"([^"]+)"', first.heard())
    assert tokens
    assert not [token for token in tokens if token in overheard]
    # A tab that follows tells its console of each change, as the one that leads does.
    for state in ("offline (no-network)", "connected (live)"):
        assert any(re.match(rf"\[SSE\] \d{{4}}-\S+ {re.escape(state)}$", line) for line in said), said


def test_a_leader_that_does_not_answer_is_replaced_within_two_seconds_and_comes_back_as_a_follower(
    beacon: Beacon, visit: Visit
) -> None:
    first = visit(beacon, "alice")
    other = first.beside()
    tabs = [first, other]
    for tab in tabs:
        tab.wait_state("connected")
    leader = leader_of(tabs)
    follower = other if leader is first else first
    follower.note_arrivals()
    leader.page.evaluate(BLOCK, scaled(PATIENCE_S) * 1_000)
    blocked = time.time()
    event_id = publish(beacon, "past.the.frozen")
    assert follower.arrived(event_id) - blocked < scaled(2 + ROOM_S)
    assert role(follower) == "leader"
    event_id = publish(beacon, "while.frozen")
    follower.wait_change(event_id)
    follower.page.context.add_cookies([{"name": "thaw", "value": "yes", "url": beacon.url}])
    leader.wait_change(event_id)  # thawed
    wait_for(lambda: role(leader) == "follower", "the thawed leader to follow")
    event_id = publish(beacon, "after.the.thaw")
    for tab in tabs:
        tab.wait_change(event_id)
        tab.wait_right()


def test_a_follower_out_of_sight_lets_go_and_catches_up_when_it_is_looked_at(beacon: Beacon, visit: Visit) -> None:
    first = visit(beacon, "alice", None, private=True)
    first.page.clock.install()
    first.goto()
    first.wait_state("connected")
    other = first.beside()
    other.wait_state("connected")
    assert role(other) == "follower"
    other.page.evaluate(HIDE, "hidden")
    other.page.clock.run_for(61_000)
    wait_for(lambda: role(other) == "asleep", "the hidden tab to let go")
    event_id = publish(beacon, "while.asleep")
    first.wait_change(event_id)
    assert event_id not in other.change_ids()
    other.page.evaluate(HIDE, "visible")
    other.wait_change(event_id)
    other.wait_right()
    assert other.asked_for("/api/stream/events") == 0


def test_two_people_in_one_browser_share_nothing_and_the_first_is_told(beacon: Beacon, visit: Visit) -> None:
    alice = visit(beacon, "alice", allow=["Failed to load resource"])
    alice.wait_state("connected")
    alice.page.context.add_cookies([login(beacon, "bob")])
    bob = alice.beside()
    bob.wait_state("connected")
    assert role(bob) == "leader"
    audience = {"type": "secret", "audience": "role:operator", "data": {"word": "for-bob"}}
    [secret, seen] = beacon.publish([audience, {"type": "public", "data": {}}])
    bob.wait_change(secret)
    alice.wait_change(seen)  # her stream is still her own
    assert secret not in alice.change_ids()
    intercept(alice.page, "**/api/stream/events*", lambda route: route.abort())
    alice.page.locator("#connection button").click()
    alice.page.get_by_role("button", name="Reconnect").click()  # it fails, and the poll beside it asks as Bob
    banner = alice.page.locator("#banner")
    expect(banner).to_contain_text("Now signed in as bob.")
    alice.page.keyboard.press("Escape")
    asked = len(alice.asked)
    secret = beacon.publish([audience])[0]
    bob.wait_change(secret)
    assert secret not in alice.change_ids()
    assert alice.asked_since(asked) == []
    banner.get_by_role("button", name="Reload").click()
    expect(alice.page.locator("body")).to_have_attribute("data-person", "bob")


def test_without_locks_the_visible_tab_streams_and_a_hidden_one_lets_go(beacon: Beacon, visit: Visit) -> None:
    first = visit(beacon, "alice", None, private=True)
    first.page.context.add_init_script(WITHOUT_LOCKS)
    first.goto()
    first.wait_state("connected")
    other = first.beside()
    other.wait_state("connected")
    assert streams([first, other]) == 2
    first.page.evaluate(HIDE, "hidden")
    wait_for(lambda: role(first) == "asleep", "the hidden tab to let go")
    event_id = publish(beacon, "while.hidden")
    other.wait_change(event_id)
    assert event_id not in first.change_ids()
    first.page.evaluate(HIDE, "visible")
    first.wait_change(event_id)
    first.wait_right()

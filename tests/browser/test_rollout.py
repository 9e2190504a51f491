"""The flag decides between stream and polling, at load and while a page is open, and costs nobody anything."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, groupby
from urllib.parse import urlsplit

from playwright.sync_api import expect

from app.accounts import users
from app.db import write
from app.flags.document import serialize_rollouts
from app.flags.evaluation import Flag, Rollout, build_evaluator
from tests.browser.conftest import FALLBACK_POLL_S, MakeBeacon, Visit
from tests.browser.fault_proxy import FaultProxy, refusal
from tests.browser.tab import Tab
from tests.support.beacon_server import PASSWORD, Beacon
from tests.support.demo_service import DemoService
from tests.support.machine import scaled
from tests.support.waiting import wait_for

STREAM, TOKEN = "/api/stream/events", "/api/stream/token"
AWAY = "Failed to load resource"
# Of thousands of pages that spread what they do at once over three seconds, these are among the first.
EARLY = "Math.random = () => 0.1"
PROXIED = r"request to http://127\.0\.0\.1"


def one_of_each_step() -> dict[str, int]:
    """Three names and the step at which each is in, as the engine says: at 10, 50 and 100 % one more."""
    asked = {at: build_evaluator(serialize_rollouts({Flag.SSE_STREAMING: Rollout(True, at)})) for at in (10, 50, 100)}
    chosen: dict[str, int] = {}
    for name in (f"person{n}" for n in count()):
        first = next(at for at, ask in asked.items() if ask(Flag.SSE_STREAMING, name))
        if list(chosen.values()).count(first) < 1:
            chosen[name] = first
        if len(chosen) == 3:
            return chosen
    raise AssertionError


@contextmanager
def events_flowing(beacon: Beacon) -> Iterator[list[int]]:
    """About forty a second from another thread; the list grows by their ids."""
    stopping, ids = threading.Event(), list[int]()

    def publish() -> None:
        while not stopping.wait(0.025):
            ids.extend(beacon.publish([{"type": "it.flows", "data": {"n": len(ids)}}]))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield ids
    finally:
        stopping.set()
        thread.join()


def role(tab: Tab) -> str:
    found: str = tab.page.evaluate("document.documentElement.dataset.role")
    return found


def leading(tabs: Sequence[Tab]) -> Tab:
    """The one that holds the lock; on a busy machine another may have taken it over."""
    return wait_for(lambda: next((tab for tab in tabs if role(tab) == "leader"), None), "one of them to lead")


def test_without_the_flag_no_stream_is_requested_and_the_page_follows_by_polling(
    start_beacon: MakeBeacon, service: DemoService, visit: Visit
) -> None:
    beacon = start_beacon(streaming=0, FALLBACK_POLL_S=FALLBACK_POLL_S, POLL_INTERVAL_S=0.3)
    beacon.watch("mail", service.url, "Mail")
    tab = visit(beacon, "alice")
    tab.wait_state("polling")
    expect(tab.badge).to_have_text("Polling")
    tab.mark()
    [event_id] = beacon.publish([{"type": "deploy.done", "data": {}}])
    tab.wait_change(event_id)
    expect(tab.tile("mail")).to_have_attribute("data-state", "verified")
    job = service.create_job(state="running")
    running = service.counts()["counts"]["running"]
    expect(tab.figure("mail", "running")).to_have_text(str(running))
    service.move(job["id"], "succeeded")
    expect(tab.figure("mail", "running")).to_have_text(str(running - 1))
    assert not tab.was_reloaded
    tab.wait_right()
    assert tab.asked_for("/api/stream/events") == 0
    assert tab.asked_for("/api/stream/token") == 0


def test_a_page_without_the_flag_loads_no_more_than_one_with_it(start_beacon: MakeBeacon, visit: Visit) -> None:
    on, off = start_beacon(), start_beacon(streaming=0)
    for beacon in (on, off):
        beacon.publish([{"type": "filler", "data": {"n": n}} for n in range(50)])
    with_stream, without = visit(on, "alice", private=True), visit(off, "alice", private=True)
    with_stream.wait_state("connected")
    without.wait_state("polling")
    assert paths_of(without) - paths_of(with_stream) <= {"/api/events/frames"}  # a poll, in place of the stream


def paths_of(tab: Tab) -> set[str]:
    return {urlsplit(url).path for url in tab.asked}


def test_a_flag_switched_off_moves_open_pages_to_polling_quietly_and_back_when_it_is_on(
    start_beacon: MakeBeacon, visit: Visit
) -> None:
    beacon = start_beacon(FALLBACK_POLL_S=FALLBACK_POLL_S)
    tab = visit(beacon, "alice")
    tab.wait_state("connected")
    tab.mark()
    tab.note_states()
    beacon.set_rollout(100, enabled=False)
    tab.wait_state("polling")
    expect(tab.badge).to_have_text("Polling")
    expect(tab.badge).to_have_attribute(
        "title", "Live updates are not switched on for you; the page asks for changes every few seconds."
    )
    assert tab.page.title() == "Beacon"
    assert tab.page.get_by_role("alert").count() == 0
    tab.wait_change(beacon.publish([{"type": "while.off", "data": {}}])[0])
    streams = tab.asked_for("/api/stream/events")
    polls = tab.asked_for("/api/events/frames")
    beacon.set_rollout(100, enabled=True)
    switched = time.monotonic()
    tab.wait_state("connected")
    assert time.monotonic() - switched <= scaled(FALLBACK_POLL_S + 3)
    tab.wait_change(beacon.publish([{"type": "on.again", "data": {}}])[0])
    tab.wait_right()
    assert (streams, polls) >= (1, 1)
    assert tab.asked_for("/api/stream/events") == streams + 1
    assert [state for state in tab.states() if state != "reconnecting"] == ["polling", "connected"]
    assert tab.states()[0] == "polling", "the page called it a failure"
    assert not tab.was_reloaded


def test_three_people_follow_the_rollout_up_and_down_while_events_flow_and_miss_none(
    start_beacon: MakeBeacon, visit: Visit
) -> None:
    beacon, steps = start_beacon(streaming=10, FALLBACK_POLL_S=FALLBACK_POLL_S), one_of_each_step()
    with beacon.app.app_context(), write() as session:
        for name in steps:
            users.add(session, name, "viewer", PASSWORD, "test")
    tabs = {name: visit(beacon, name) for name in steps}
    for name, tab in tabs.items():
        tab.wait_state("connected" if steps[name] == 10 else "polling")
        tab.mark()
        tab.note_states()
        tab.note_arrivals()
    with events_flowing(beacon) as ids:
        for percentage in (50, 100, 0):
            beacon.set_rollout(percentage)
            known = time.time()
            state, bound_s = ("connected", FALLBACK_POLL_S + 3) if percentage else ("polling", 5)
            for name in steps if percentage == 0 else [name for name in steps if steps[name] == percentage]:
                tabs[name].wait_state(state)
                assert tabs[name].reached_at(state) - known <= scaled(bound_s)
            so_far = len(ids)
            wait_for(lambda: len(ids) > so_far + 20, "events in this mode")  # noqa: B023 -- called at once
    for name, tab in tabs.items():
        tab.wait_right()
        assert set(ids) <= {int(event_id) for event_id in tab.page.evaluate("Object.keys(window.arrivals)")}
        first = ["connected"] if steps[name] == 10 else ["polling", "connected"]
        moves = [state for state, _ in groupby([first[0], *(one for one in tab.states() if one != "reconnecting")])]
        assert moves == [*first, "polling"], name
        assert not tab.was_reloaded


def test_the_flag_going_off_leaves_nothing_of_the_stream_in_the_browser(start_beacon: MakeBeacon, visit: Visit) -> None:
    """Neither the lock of the tabs, nor the token, nor a wait that a server asked for."""
    beacon = start_beacon(FALLBACK_POLL_S=FALLBACK_POLL_S)
    with FaultProxy(beacon.port) as proxy:
        first = visit(beacon, "alice", None, allow=[AWAY, PROXIED], private=True)
        first.page.context.add_init_script(EARLY)
        first.page.goto(proxy.url)
        first.wait_state("connected")
        second = Tab(first.page.context.new_page(), beacon, "alice", first.trouble)
        second.page.goto(proxy.url)
        second.wait_state("connected")
        for tab in (first, second):
            tab.note_states()
        tabs = (first, second)
        proxy.answers.append(refusal("503 Service Unavailable", "Retry-After: 600"))
        proxy.cut()
        first.wait_state("polling")
        # On the second way back the tab leads again that led in the beginning.
        for _ in range(2):
            leader = leading(tabs)
            tokens = sum(tab.asked_for(TOKEN) for tab in tabs)
            beacon.set_rollout(0)
            wait_for(lambda: leading(tabs) is not leader, "the lock to be given back")  # noqa: B023 -- called at once
            for tab in tabs:
                tab.wait_state("polling")
            first.wait_change(beacon.publish([{"type": "while.off", "data": {}}])[0])
            beacon.set_rollout(100)
            known = time.time()
            for tab in tabs:
                tab.wait_state("connected")
                tab.wait_right()
            assert max(tab.reached_at("connected") for tab in tabs) - known <= scaled(FALLBACK_POLL_S + 3)
            assert sum(tab.asked_for(TOKEN) for tab in tabs) > tokens, "an old token was kept"

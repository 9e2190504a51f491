"""The flag decides between stream and polling, at load and while a page is open, and costs nobody anything."""

import time
from statistics import median

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import FALLBACK_POLL_S, MakeBeacon, Visit
from tests.browser.tab import Load
from tests.demo_process import DemoService

LOADS = 2  # after one that warms the server up


def test_without_the_flag_no_stream_is_requested_and_the_page_follows_by_polling(
    start_beacon: MakeBeacon, service: DemoService, visit: Visit
) -> None:
    beacon = start_beacon(streaming=0, FALLBACK_POLL_S=FALLBACK_POLL_S, POLL_INTERVAL_S=1)
    beacon.watch("mail", service.url, "Mail")
    tab = visit(beacon, "alice")
    tab.wait_state("polling")
    expect(tab.badge).to_have_text("Polling")
    tab.mark()
    [event_id] = beacon.publish([{"type": "deploy.done", "data": {}}])
    tab.wait_change(event_id, within_s=FALLBACK_POLL_S * 1.2 + 2)
    expect(tab.tile("mail")).to_have_attribute("data-state", "verified", timeout=10_000)
    job = service.create_job(state="running")
    running = service.counts()["counts"]["running"]
    expect(tab.figure("mail", "running")).to_have_text(str(running), timeout=5_000)
    service.move(job["id"], "succeeded")
    expect(tab.figure("mail", "running")).to_have_text(str(running - 1), timeout=5_000)
    assert not tab.was_reloaded
    tab.wait_right()
    assert tab.asked_for("/api/stream/events") == 0
    assert tab.asked_for("/api/stream/token") == 0


def test_a_page_without_the_flag_loads_no_slower_than_one_with_it(
    start_beacon: MakeBeacon, visit: Visit, capsys: pytest.CaptureFixture[str]
) -> None:
    on, off = start_beacon(), start_beacon(streaming=0)
    for beacon in (on, off):
        beacon.publish([{"type": "filler", "data": {"n": n}} for n in range(50)])
    loads: dict[str, list[Load]] = {"connected": [], "polling": []}
    for _ in range(LOADS + 1):  # turn by turn, so that a busy machine meets both
        loads["connected"].append(visit(on, "alice", None).load("connected"))
        loads["polling"].append(visit(off, "alice", None).load("polling"))
    content_ms = {state: [load.content_ms for load in found[1:]] for state, found in loads.items()}
    ready_ms = {state: [load.ready_ms for load in found[1:]] for state, found in loads.items()}
    requests = {state: max(load.requests for load in found) for state, found in loads.items()}
    sizes = {state: max(load.size for load in found) for state, found in loads.items()}
    with capsys.disabled():
        for state in loads:
            times = f"content {median(content_ms[state]):.0f} ms, ready {median(ready_ms[state]):.0f} ms"
            print(f"\n{state}: {times}, {requests[state]} requests, {sizes[state]} bytes", end="")  # noqa: T201 -- figures to compare
    assert requests["polling"] <= requests["connected"]
    assert sizes["polling"] <= sizes["connected"]
    # The fastest of each: what else the machine does only ever adds.
    assert min(content_ms["polling"]) <= 2 * min(content_ms["connected"])
    assert min(ready_ms["polling"]) <= 2 * min(ready_ms["connected"])


def test_a_flag_switched_off_moves_open_pages_to_polling_quietly_and_back_when_it_is_on(
    start_beacon: MakeBeacon, visit: Visit
) -> None:
    fallback_s = 1.0
    beacon = start_beacon(FALLBACK_POLL_S=fallback_s)
    tab = visit(beacon, "alice")
    tab.wait_state("connected")
    tab.mark()
    tab.note_states()
    beacon.set_rollout(100, enabled=False)
    tab.wait_state("polling", within_s=5)
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
    tab.wait_state("connected", within_s=fallback_s + 3)
    assert time.monotonic() - switched <= fallback_s + 3
    tab.wait_change(beacon.publish([{"type": "on.again", "data": {}}])[0])
    tab.wait_right()
    assert (streams, polls) >= (1, 1)
    assert tab.asked_for("/api/stream/events") == streams + 1
    assert [state for state in tab.states() if state != "reconnecting"] == ["polling", "connected"]
    assert tab.states()[0] == "polling", "the page called it a failure"
    assert not tab.was_reloaded

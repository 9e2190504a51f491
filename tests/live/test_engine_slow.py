"""Readers that do not read: nobody else waits for them, they cost little, and they lose nothing."""

import time

import pytest

from app.stream.heartbeat import SLOW_READER_TIMEOUT_S
from app.stream.ring_buffer import MAX_EVENTS
from app.stream.socket_transport import ACK_TIMEOUT_MS, BLOCKED_ACK_TIMEOUT_MS
from tests.live import probe
from tests.live.conftest import MakeBeacon
from tests.live.fleet import Fleet, Reader, fleet_of
from tests.support.beacon_server import Beacon
from tests.support.machine import ROOM_S, scaled

READERS, STALLED = 300, 50
EVENT_BYTES = 1_024
# What one reader that stands still may cost: the rest of a chunk, and a frame.
EACH_MAY_HOLD = 64 * 1024 + EVENT_BYTES + 512


def kilobytes(count: int) -> list[dict[str, object]]:
    return [{"type": "load.event", "data": {"text": "x" * EVENT_BYTES}} for _ in range(count)]


def fill_the_ring(beacon: Beacon) -> None:
    """So that what it takes is there before anything is measured, and afterwards no more."""
    ids = [beacon.publish(kilobytes(500))[-1] for _ in range(MAX_EVENTS // 500)]
    with fleet_of(beacon) as fleet:
        fleet.open("alice", after=ids[0])
        fleet.all_have(ids[-1], 20)


def flow(beacon: Beacon, fleet: Fleet, batches: int, size: int) -> dict[int, float]:
    """Publish while the fleet reads; when each event was asked for."""
    asked: dict[int, float] = {}
    for _ in range(batches):
        at = time.monotonic()
        asked.update(dict.fromkeys(beacon.publish(kilobytes(size)), at))
        fleet.go_on_for(0.05)
    return asked


def worst_lag_s(reader: Reader, asked: dict[int, float]) -> float:
    return max(at - asked[event_id] for event_id, at in zip(reader.ids, reader.arrived, strict=True))


def has_all(reader: Reader, ids: list[int]) -> bool:
    return bool(reader.ids) and reader.ids[-1] == ids[-1]


def open_and_stall(beacon: Beacon, fleet: Fleet, others: int, stalled: int) -> tuple[list[Reader], list[Reader]]:
    head = beacon.head()
    reading = fleet.open("alice", others, after=head)
    still = fleet.open("bob", stalled, after=head, receive_buffer=16_384)
    fleet.all_open(30)
    for reader in still:
        reader.stall()
    return reading, still


def test_fifty_that_do_not_read_hold_up_nobody_cost_little_and_end_up_complete(start_beacon: MakeBeacon) -> None:
    beacon = start_beacon(config=probe.CONFIG)
    fill_the_ring(beacon)
    (pid,) = beacon.worker_pids()
    with fleet_of(beacon) as fleet:
        reading, still = open_and_stall(beacon, fleet, READERS - STALLED, STALLED)
        before = probe.pss_bytes(pid)
        asked = flow(beacon, fleet, batches=40, size=10)
        ids = list(asked)
        fleet.until(lambda: all(has_all(reader, ids) for reader in reading), "those who read")
        grown = probe.pss_bytes(pid) - before
        report = probe.ask(pid)
        assert report.slow == STALLED, "they stand still, or the test would prove nothing"
        patient = [user_timeout_ms for user_timeout_ms, *_ in report.options if user_timeout_ms != ACK_TIMEOUT_MS]
        assert len(patient) == STALLED
        assert set(patient) == {BLOCKED_ACK_TIMEOUT_MS}, "the kernel would take a closed window for a peer that is gone"
        for reader in reading:
            assert reader.ids == ids
            assert worst_lag_s(reader, asked) < scaled(1.0 + ROOM_S)
        assert grown < STALLED * EACH_MAY_HOLD
        for reader in still:
            reader.go_on()
        fleet.until(lambda: all(has_all(reader, ids) for reader in still), "those who stood still")
        assert all(reader.ids == ids and not reader.resets for reader in still)
        assert all(reader.sums == reading[0].sums for reader in fleet.readers), "not the same bytes"
        assert all(reader.hellos == 1 for reader in fleet.readers), "on one connection each"
        report = probe.settled(pid, lambda found: found.slow == 0, "nobody to be slow")
        assert {user_timeout_ms for user_timeout_ms, *_ in report.options} == {ACK_TIMEOUT_MS}


@pytest.mark.long
def test_half_a_minute_without_progress_ends_a_stream_and_its_cursor_brings_all(start_beacon: MakeBeacon) -> None:
    beacon = start_beacon(config=probe.CONFIG)
    (pid,) = beacon.worker_pids()
    with fleet_of(beacon) as fleet:
        reading, still = open_and_stall(beacon, fleet, 10, 10)
        asked = flow(beacon, fleet, batches=50, size=10)
        stopped = time.monotonic()
        fleet.until(lambda: probe.ask(pid).wires == 10, "those who stand still to be closed", SLOW_READER_TIMEOUT_S + 5)
        assert time.monotonic() - stopped > SLOW_READER_TIMEOUT_S - 5
        asked.update(flow(beacon, fleet, batches=5, size=10))
        for reader in still:
            reader.go_on()
        ids = list(asked)
        fleet.until(lambda: all(has_all(reader, ids) for reader in reading + still), "everybody", 20)
        assert all(reader.ids == ids and not reader.resets for reader in reading + still)
        assert all(reader.sums == reading[0].sums for reader in still)
        assert all(reader.hellos == 2 for reader in still)
        assert beacon.log_text().count("reason=slow") == 10


@pytest.mark.long
def test_a_reader_that_takes_a_little_now_and_then_is_not_closed(start_beacon: MakeBeacon) -> None:
    """Slow is not still: as long as bytes go out, the stream stays."""
    beacon = start_beacon(config=probe.CONFIG)
    (pid,) = beacon.worker_pids()
    with fleet_of(beacon) as fleet:
        (fast,), (slow,) = open_and_stall(beacon, fleet, 1, 1)
        ids = list(flow(beacon, fleet, batches=150, size=20))
        assert probe.ask(pid).slow == 1
        ends = time.monotonic() + SLOW_READER_TIMEOUT_S + 15
        while time.monotonic() < ends:
            assert slow.is_open, "closed while it was reading"
            slow.read()
            fleet.go_on_for(0.5)
        assert probe.ask(pid).slow == 1, "it is slow all the time, or the test would prove nothing"
        slow.go_on()
        fleet.until(lambda: has_all(slow, ids), "the slow one")
        assert (slow.ids, slow.sums) == (ids, fast.sums)
        assert slow.hellos == 1

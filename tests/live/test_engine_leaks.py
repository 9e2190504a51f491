"""What a stream takes it gives back, exactly; and it takes no database connection at all."""

import time

import pytest
import requests

from tests.live import probe
from tests.live.conftest import MakeBeacon
from tests.live.fleet import Fleet, Reader, fleet_of
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled
from tests.support.prometheus_text import numbers, total
from tests.support.waiting import wait_for

PATHS = ["/api/stream/events", "/api/stream/events?as=html", "/reconciliation/stream", "/api/events/stream", "/api/sse"]
WAYS = ["fin", "rst", "half"]
WAVE = 200
# The one that listens, and the probe's own two.
IDLE_SOCKETS = 3


def exported_gauge(beacon: Beacon) -> float:
    answer = requests.get(f"{beacon.url}/metrics", headers=beacon.bearer("alice", "read"), timeout=scaled(10))
    return total(numbers(answer.text), "beacon_streams_open")


def check(beacon: Beacon, pid: int, streams: int, idle: probe.Report) -> None:
    """All who count say the same, at every look; each stream costs one descriptor and no greenlet."""
    held = (idle.greenlets, idle.descriptors + streams)
    report = probe.settled(pid, lambda found: found.held == held, f"{held} greenlets and descriptors")
    assert report.sockets == IDLE_SOCKETS + streams
    assert report.streams == {streams}
    assert report.slow == 0
    wait_for(lambda: exported_gauge(beacon) == streams, "the exported gauge, which follows within a second", 5)


def wave(fleet: Fleet) -> list[Reader]:
    """Streams of all kinds, at once."""
    for path in PATHS:
        fleet.open("alice", WAVE // len(PATHS), path=path, comes_back=False)
    fleet.all_open(30)
    return list(fleet.readers)


def leave(fleet: Fleet) -> None:
    """In all the ways in which a client can, and one who leaves before an answer has come."""
    for place, reader in enumerate(fleet.readers):
        reader.cut(WAYS[place % len(WAYS)])
    fleet.until(lambda: all(reader.is_away for reader in fleet.readers), "those with half a word to be hung up on")
    fleet.readers.clear()
    hasty = fleet.open("alice", 5, comes_back=False)
    for place, reader in enumerate(hasty):
        reader.cut(WAYS[place % 2])
    fleet.readers.clear()


def idle_report(beacon: Beacon, pid: int, fleet: Fleet) -> probe.Report:
    """After a first wave, so that what is made once and kept is there: pools, caches, lazily imported modules."""
    wave(fleet)
    exported_gauge(beacon)
    leave(fleet)
    looks = []
    while len(looks) < 5:  # the least of a few, because a look may meet a request's greenlet on its way out
        looks.append(probe.settled(pid, lambda found: found.sockets == IDLE_SOCKETS, "the first wave to be gone"))
        time.sleep(0.05)
    return min(looks, key=lambda look: look.greenlets)


def cycles(beacon: Beacon, waves: int) -> None:
    (pid,) = beacon.worker_pids()
    with fleet_of(beacon) as fleet:
        idle = idle_report(beacon, pid, fleet)
        for _ in range(waves):
            streams = len(wave(fleet))
            check(beacon, pid, streams, idle)
            beacon.publish([{"type": "leak.check", "data": {}}])
            leave(fleet)
            check(beacon, pid, 0, idle)
    assert "Traceback" not in beacon.log_text()


def test_two_thousand_streams_come_and_go_and_leave_nothing_behind(start_beacon: MakeBeacon) -> None:
    cycles(start_beacon(config=probe.CONFIG), 2_000 // WAVE)


@pytest.mark.long
def test_twenty_thousand_streams_come_and_go_and_leave_nothing_behind(start_beacon: MakeBeacon) -> None:
    beacon = start_beacon(config=probe.CONFIG)
    cycles(beacon, 20)
    (pid,) = beacon.worker_pids()
    before = probe.pss_bytes(pid)
    cycles(beacon, 20_000 // WAVE - 20)
    assert probe.pss_bytes(pid) - before < 8 * 1024 * 1024


def p95_page_s(beacon: Beacon, browser: requests.Session) -> float:
    times = []
    for _ in range(50):
        began = time.monotonic()
        assert browser.get(f"{beacon.url}/", timeout=scaled(10)).status_code == 200
        times.append(time.monotonic() - began)
    return sorted(times)[47]


def test_a_thousand_streams_hold_no_connection_of_a_pool_of_two_and_pages_stay_fast(start_beacon: MakeBeacon) -> None:
    beacon = start_beacon(config=probe.CONFIG, PROBE_TINY_POOL=1)
    (pid,) = beacon.worker_pids()
    browser = beacon.log_in("alice")
    calm = p95_page_s(beacon, browser)
    with fleet_of(beacon) as fleet:
        fleet.open("bob", 1_000, after=beacon.head())
        fleet.all_open(60)
        report = probe.ask(pid)
        assert (report.streams, report.checked_out) == ({1_000}, 0)
        crowded = p95_page_s(beacon, browser)
        ids = beacon.publish([{"type": "pool.check", "data": {"n": n}} for n in range(10)])
        fleet.all_have(ids[-1])
        assert probe.ask(pid).checked_out == 0
        assert all(reader.ids == ids for reader in fleet.readers)
    assert crowded < 5 * calm + 0.02
    assert "QueuePool" not in beacon.log_text()

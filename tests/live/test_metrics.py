"""Metrics of two real workers, of which one is killed."""

import os
import signal
import time
from pathlib import Path

import requests

from tests.live.conftest import MakeBeacon
from tests.support.beacon_server import Beacon
from tests.support.live_stream import LiveStream
from tests.support.machine import scaled
from tests.support.processes import stopped
from tests.support.prometheus_text import Numbers, numbers, total
from tests.support.waiting import wait_for

TOTALS = (
    "beacon_streams_opened_total",
    "beacon_deliveries_total",
    "beacon_stream_bytes_total",
    "beacon_delivery_lag_seconds_count",
)


def scrape(beacon: Beacon) -> Numbers:
    answer = requests.get(f"{beacon.url}/metrics", headers=beacon.bearer("alice", "read"), timeout=scaled(10))
    assert answer.status_code == 200, answer.text
    return numbers(answer.text)


def open_stream(beacon: Beacon, user: str) -> LiveStream:
    stream = LiveStream(f"{beacon.url}/api/stream/events", beacon.bearer(user, "stream"))
    assert stream.status == 200
    stream.wait_named("hello")
    return stream


def opened_by_worker(beacon: Beacon) -> list[str]:
    """The process id of each opened stream, from the log."""
    lines = [line for line in beacon.log_text().splitlines() if "[SSE] open" in line]
    return [line.split("pid=")[1].split()[0] for line in lines]


def streams_on_two_workers(beacon: Beacon) -> list[LiveStream]:
    wait_for(lambda: scrape(beacon)["beacon_workers",] == 2, "both workers")
    streams = [open_stream(beacon, user) for _ in beacon.each_worker_alone() for user in ("alice", "bob")]
    assert len(set(opened_by_worker(beacon))) == 2
    return streams


def test_workers_are_summed_and_a_killed_one_leaves_its_totals_only(start_beacon: MakeBeacon) -> None:
    beacon = start_beacon(WORKERS=2)
    streams = streams_on_two_workers(beacon)
    ids = beacon.publish([{"type": "seen", "data": {"n": n}} for n in range(10)])
    for stream in streams:
        stream.wait_id(ids[-1])
    wait_for(lambda: scrape(beacon)["beacon_deliveries_total",] >= 10 * len(streams), "all deliveries")
    time.sleep(1.1)  # the last flush of the worker that will be killed
    before = scrape(beacon)
    assert total(before, "beacon_streams_open") == total(before, "beacon_streams_opened_total") == len(streams)
    assert before["beacon_delivery_lag_seconds_count",] > 0
    assert (before["beacon_workers",], before["beacon_log_tail_cursor",]) == (2, ids[-1])

    pids = opened_by_worker(beacon)
    os.kill(int(pids[-1]), signal.SIGKILL)
    left = len(streams) - pids.count(pids[-1])
    wait_for(lambda: total(scrape(beacon), "beacon_streams_open") == left, "the killed worker's streams to vanish", 5)
    wait_for(lambda: scrape(beacon)["beacon_workers",] == 2, "a new worker")
    found = scrape(beacon)
    assert found["beacon_streams_closed_total", "killed"] == pids.count(pids[-1])
    assert total(found, "beacon_streams_opened_total") - total(found, "beacon_streams_closed_total") == left
    for _ in range(20):
        now = scrape(beacon)
        for name in TOTALS:
            assert total(now, name) >= total(before, name), name
        time.sleep(0.05)
    for stream in streams:
        stream.cut()


def test_a_frozen_worker_is_no_living_one_until_it_goes_on(start_beacon: MakeBeacon) -> None:
    beacon = start_beacon(WORKERS=2)
    wait_for(lambda: scrape(beacon)["beacon_workers",] == 2, "both workers")
    frozen = beacon.worker_pids()[0]
    with stopped(frozen):
        # Nine of the ten seconds of silence pass, as far as the file can tell that a living worker writes each second.
        alive = beacon.folder / f"metrics-{beacon.port}" / f"alive_{frozen}"
        seen_at = alive.stat().st_mtime
        os.utime(alive, (seen_at - 9, seen_at - 9))
        wait_for(lambda: scrape(beacon)["beacon_workers",] == 1, "the frozen worker to count no more", 25)
        assert requests.get(f"{beacon.url}/readyz", timeout=scaled(10)).status_code == 200
    wait_for(lambda: scrape(beacon)["beacon_workers",] == 2, "it to go on")


def test_a_reload_changes_the_workers_and_keeps_the_totals(start_beacon: MakeBeacon) -> None:
    beacon = start_beacon()
    with open_stream(beacon, "alice") as stream:
        old = beacon.worker_pids()
        master = int(Path(f"/proc/{old[0]}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(master, signal.SIGHUP)
        wait_for(stream.closed.is_set, "the old worker's goodbye")
    wait_for(
        lambda: not set(old) & set(beacon.worker_pids()) and scrape(beacon)["beacon_workers",] == 1, "a new worker"
    )
    with open_stream(beacon, "alice"):
        wait_for(lambda: total(scrape(beacon), "beacon_streams_opened_total") == 2, "both streams")
        found = scrape(beacon)
        assert total(found, "beacon_streams_open") == 1
        assert found["beacon_streams_closed_total", "drain"] == 1, "the last second of a worker counts too"
    folder = beacon.folder / f"metrics-{beacon.port}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.glob("*.db"))) == 7, "five of the worker, and the totals of those that ended"

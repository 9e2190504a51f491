"""A worker that is started while the database is away."""

import os
import signal
from pathlib import Path

import requests

from tests.live.conftest import MakeBeacon
from tests.support.beacon_server import Beacon
from tests.support.live_stream import LiveStream
from tests.support.machine import scaled
from tests.support.waiting import wait_for


def moved(beacon: Beacon, back: bool) -> None:
    for end in ("", "-wal", "-shm"):
        here, away = Path(f"{beacon.database}{end}"), Path(f"{beacon.database}{end}.away")
        source, target = (away, here) if back else (here, away)
        if source.exists():
            source.rename(target)


def is_alive(beacon: Beacon) -> bool:
    return requests.get(f"{beacon.url}/healthz", timeout=scaled(5)).status_code == 200


def test_a_worker_that_boots_without_its_database_waits_for_it_and_takes_nobody_down(start_beacon: MakeBeacon) -> None:
    beacon = start_beacon(WORKERS=2)
    first, second = beacon.worker_pids()
    with LiveStream(f"{beacon.url}/api/stream/events", beacon.bearer("alice", "stream")) as stream:
        stream.wait_named("hello")
        moved(beacon, back=False)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: len(set(beacon.worker_pids()) - {first, second}) == 1, "another worker")
        wait_for(lambda: "this worker waits for its database" in beacon.log_text(), "the new worker's word")
        assert is_alive(beacon)
        assert second in beacon.worker_pids()
        moved(beacon, back=True)
        wait_for(lambda: "the database is usable, this worker started" in beacon.log_text(), "the new worker's start")
        wait_for(beacon.is_ready, "readiness")
    with LiveStream(f"{beacon.url}/api/stream/events", beacon.bearer("alice", "stream")) as stream:
        ids = beacon.publish([{"type": "after.all", "data": {}}])
        stream.wait_id(ids[-1])

"""SIGTERM: readiness goes off first, goodbyes are spread, nothing is missed by whoever comes back."""

import signal
import time

import requests

from tests.live.conftest import MakeBeacon
from tests.live.fleet import EVENTS, Fleet, fleet_of
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled

DRAIN_S = 4.0
READERS = 300


def status(beacon: Beacon, path: str, headers: dict[str, str] | None = None) -> requests.Response:
    return requests.get(f"{beacon.url}{path}", headers=headers, timeout=scaled(5))


def check_that_it_says_so_while_it_still_serves(beacon: Beacon, fleet: Fleet) -> None:
    """After the signal, before the first goodbye."""
    fleet.until(lambda: status(beacon, "/readyz").status_code == 503, "readiness to go off", 2)
    assert status(beacon, "/login").status_code == 200
    assert status(beacon, "/healthz").status_code == 200
    refused = status(beacon, EVENTS, beacon.bearer("alice", "stream"))
    assert refused.status_code == 503
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["Content-Type"] == "application/problem+json"
    fleet.turn(0)
    assert not any(reader.byes for reader in fleet.readers), "a goodbye came before readiness was seen to be off"


def check_goodbyes(fleet: Fleet, signalled: float) -> None:
    for reader in fleet.readers:
        assert reader.byes == [b'event: bye\ndata: {"reason":"drain","poll":false}']
    times = sorted(reader.bye_at - signalled for reader in fleet.readers)
    assert times[-1] < DRAIN_S
    tenth = len(times) // 10
    assert times[-tenth] - times[tenth] > 0.2, "all at one moment: they would come back at one moment, too"


def end(beacon: Beacon) -> None:
    """Wait for the server's own end; everything it needed to do for it has been asked for."""
    began = time.monotonic()
    beacon.stop(within_s=DRAIN_S + 5)
    assert time.monotonic() - began < scaled(DRAIN_S + 5)


def test_a_drain_turns_readiness_off_then_says_goodbye_spread_and_nothing_is_missed(start_beacon: MakeBeacon) -> None:
    beacon = start_beacon(DRAIN_S=DRAIN_S)
    with fleet_of(beacon) as fleet:
        fleet.open("alice", READERS, after=beacon.head())
        fleet.all_open(30)
        ids = beacon.publish([{"type": "before", "data": {}}])
        for reader in fleet.readers:
            reader.comes_back = False
        signalled = time.monotonic()
        beacon.signal(signal.SIGTERM)
        check_that_it_says_so_while_it_still_serves(beacon, fleet)
        ids += beacon.publish([{"type": "meanwhile", "data": {}}])
        fleet.until(lambda: all(reader.is_away for reader in fleet.readers), "the end of all streams", DRAIN_S)
        check_goodbyes(fleet, signalled)
        end(beacon)
        beacon.sql("INSERT INTO event (type, data_json) VALUES ('while.down', '{}')")
        ids.append(beacon.head())
        beacon.start()
        for reader in fleet.readers:
            reader.connect()
        fleet.all_have(ids[-1], 20)
        assert all(reader.ids == ids and not reader.resets for reader in fleet.readers)


def test_readers_that_stand_still_hold_a_drain_no_longer_than_its_bound(start_beacon: MakeBeacon) -> None:
    """They get no goodbye, because they do not read; the others get theirs, and the worker ends in time."""
    beacon = start_beacon(DRAIN_S=2)
    with fleet_of(beacon) as fleet:
        stuck = fleet.open("alice", 10, comes_back=False, receive_buffer=4_096)
        reading = fleet.open("bob", 10, comes_back=False)
        fleet.all_open()
        for reader in stuck:
            reader.stall()
        for _ in range(5):
            ids = beacon.publish([{"type": "big", "data": {"text": "x" * 60_000}} for _ in range(5)])
            fleet.until(lambda upto=ids[-1]: all(reader.cursor == upto for reader in reading), "those who read")
        began = time.monotonic()
        beacon.signal(signal.SIGTERM)
        fleet.until(lambda: all(reader.is_away for reader in reading), "the end of those who read", 2)
        assert all(len(reader.byes) == 1 for reader in reading)
        beacon.stop()
        assert time.monotonic() - began < scaled(2 + 5)
    assert "Traceback" not in beacon.log_text()

"""Everything goes wrong at once, and each client still gets every event of its audience once and in order."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
import requests

from app.eventlog.audience import Viewer
from tests.live.conftest import MakeBeacon
from tests.live.fleet import Fleet, Reader, fleet_of
from tests.support.beacon_server import PEOPLE, Beacon
from tests.support.machine import scaled
from tests.support.waiting import wait_for

AUDIENCES = ["everyone", "everyone", "everyone", "user:alice", "user:bob", "role:operator", "role:viewer"]
USERS = ["alice", "bob", "charlie", "ada"]


class Publisher:
    """Publishes until it is stopped, through whatever fails; what counts in the end is what the log holds."""

    def __init__(self, beacon: Beacon) -> None:
        self._beacon, self._headers = beacon, beacon.bearer("ada", "publish")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.acknowledged: list[int] = []
        self.failed = 0
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(scaled(15))
        assert not self._thread.is_alive()

    def _run(self) -> None:
        session = requests.Session()
        while not self._stopping.wait(0.01):
            try:
                self._publish(session)
            except requests.RequestException:
                self.failed += 1
                session.close()
                session = requests.Session()
        session.close()

    def _publish(self, session: requests.Session) -> None:
        batch = [
            {
                "type": "chaos.event",
                "data": {"text": "x" * random.randint(0, 300)},
                "audience": random.choice(AUDIENCES),
            }
            for _ in range(random.randint(1, 4))
        ]
        url = f"{self._beacon.url}/api/events"
        answer = session.post(url, json=batch, headers=self._headers, timeout=scaled(5))
        if answer.status_code == 201:
            self.acknowledged += answer.json()["ids"]
        else:
            self.failed += 1


def logged(beacon: Beacon, after: int) -> list[tuple[int, str]]:
    """The id and the audience of every event, straight from the table."""
    rows = beacon.sql("SELECT id, audience FROM event WHERE id > ? AND audience <> 'control' ORDER BY id", after)
    return [(int(event_id), str(audience)) for event_id, audience in rows]


def for_user(user: str, events: list[tuple[int, str]]) -> list[int]:
    audiences = Viewer(user, PEOPLE[user]).audiences
    return [event_id for event_id, audience in events if audience in audiences]


def cut_some(fleet: Fleet) -> None:
    """A random few of those that are open: half of them in the middle of a frame, some with a reset."""
    for reader in random.sample(fleet.readers, random.randint(1, 12)):
        if not reader.is_staying:
            continue
        if random.random() < 0.55:
            reader.cut_in_frame()
        else:
            reader.cut(random.choice(["fin", "rst", "half"]))


def disconnect(fleet: Fleet, times: int, at: dict[int, Callable[[], None]], within_s: float) -> None:
    """Cut at random moments until `times` were; `at` says what else happens at which number."""
    deadline, waiting = time.monotonic() + within_s, dict(at)
    while (cuts := sum(reader.cuts for reader in fleet.readers)) < times:
        assert time.monotonic() < deadline, f"only {cuts} cuts in {within_s} s"
        cut_some(fleet)
        for number in [number for number in waiting if number <= cuts]:
            waiting.pop(number)()
        fleet.turn(random.uniform(0, 0.02))


def check(reader: Reader, expected: list[int]) -> None:
    assert reader.ids == expected, f"{reader.user}: {first_difference(reader.ids, expected)}"
    assert (reader.resets, reader.strange) == ([], [])
    assert set(reader.refusals) <= {503}


def check_same_bytes(readers: list[Reader]) -> None:
    """Whatever worker, ring, log or rest of a chunk an event came from, it is the same to the byte."""
    sums: dict[int, int] = {}
    for reader in readers:
        for event_id, checksum in zip(reader.ids, reader.sums, strict=True):
            assert sums.setdefault(event_id, checksum) == checksum, f"event {event_id} came in two versions"


def first_difference(got: list[int], expected: list[int]) -> str:
    for place, (one, other) in enumerate(zip(got, expected, strict=False)):
        if one != other:
            return f"{got[max(0, place - 3) : place + 3]} is not {expected[max(0, place - 3) : place + 3]}"
    return f"{len(got)} events instead of {len(expected)}"


def torment(beacon: Beacon, readers: int, cuts: int, within_s: float) -> None:
    start = beacon.head()
    before = set(beacon.worker_pids())
    killed: list[int] = []

    def kill_a_worker() -> None:
        killed.append(beacon.worker_pids()[0])
        os.kill(killed[0], signal.SIGKILL)

    with fleet_of(beacon) as fleet:
        for user in USERS:
            fleet.open(user, readers // len(USERS), after=start)
        fleet.all_open()
        publisher = Publisher(beacon)
        restart = partial(beacon.signal, signal.SIGHUP)
        disconnect(fleet, cuts, {cuts // 3: kill_a_worker, cuts * 2 // 3: restart}, within_s)
        fleet.until(lambda: not before & set(beacon.worker_pids()), "the rolling restart", within_s)
        publisher.stop()
        last = beacon.publish([{"type": "chaos.last", "data": {}}])[0]
        fleet.all_have(last, 30)
        events = logged(beacon, start)
        assert killed
        assert set(publisher.acknowledged) <= {event_id for event_id, _ in events}
        assert len(events) > 200
        for reader in fleet.readers:
            check(reader, for_user(reader.user, events))
        check_same_bytes(fleet.readers)
        assert sum(reader.cuts_in_frame for reader in fleet.readers) > cuts * 0.4


def test_cuts_a_killed_worker_and_a_rolling_restart_lose_repeat_and_reorder_nothing(start_beacon: MakeBeacon) -> None:
    torment(start_beacon(WORKERS=2, HEARTBEAT_S=0.5, DRAIN_S=2), readers=100, cuts=2_000, within_s=180)


@pytest.mark.long
def test_twenty_thousand_cuts_lose_repeat_and_reorder_nothing(start_beacon: MakeBeacon) -> None:
    torment(start_beacon(WORKERS=2, HEARTBEAT_S=0.5, DRAIN_S=2), readers=200, cuts=20_000, within_s=600)


def test_a_log_pruned_behind_a_clients_back_is_answered_with_one_reset(start_beacon: MakeBeacon) -> None:
    """The one case in which something is missed: it is said, once, and the stream goes on from there."""
    beacon = start_beacon()
    ids = beacon.publish([{"type": "old", "data": {"n": n}} for n in range(50)])
    beacon.sql("DELETE FROM event WHERE id <= ?", ids[29])
    with fleet_of(beacon) as fleet:
        behind, within = fleet.open("alice", 1, after=ids[9])[0], fleet.open("alice", 1, after=ids[39])[0]
        fleet.all_open()
        new = beacon.publish([{"type": "new", "data": {}}])
        fleet.all_have(new[0])
        assert behind.resets == [ids[-1]]
        assert behind.ids == new
        assert within.resets == []
        assert within.ids == ids[40:] + new


def test_who_was_away_for_thousands_of_others_events_gets_its_own_from_log_and_ring(start_beacon: MakeBeacon) -> None:
    """More than the ring holds, and few of them for each: whole pages and chunks hold nothing for a reader."""
    beacon = start_beacon()
    start = beacon.head()
    audiences = ["user:bob"] * 900 + ["user:alice"] * 40 + ["everyone"] * 60
    for _ in range(7):
        random.shuffle(audiences)
        beacon.publish([{"type": "away", "data": {"n": n}, "audience": one} for n, one in enumerate(audiences)])
    last = beacon.publish([{"type": "away.last", "data": {}}])[0]
    events = logged(beacon, start)
    with fleet_of(beacon) as fleet:
        for after in [start, *random.sample([event_id for event_id, _ in events], 15)]:
            for user in ("alice", "bob", "charlie"):
                fleet.open(user, after=after)
        fleet.all_have(last, 20)
        for reader in fleet.readers:
            check(reader, [event_id for event_id in for_user(reader.user, events) if event_id > (reader.first or 0)])
        check_same_bytes(fleet.readers)


def test_workers_that_are_killed_again_and_again_are_replaced_and_nothing_is_lost(start_beacon: MakeBeacon) -> None:
    beacon = start_beacon(WORKERS=2)
    start = beacon.head()
    with fleet_of(beacon) as fleet:
        fleet.open("bob", 40, after=start)
        fleet.all_open()
        for _ in range(3):
            beacon.publish([{"type": "kill", "data": {}, "audience": random.choice(AUDIENCES)} for _ in range(20)])
            victim = beacon.worker_pids()[0]
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda gone=victim: two_without(beacon, gone), "another worker")
        last = beacon.publish([{"type": "kill.last", "data": {}}])[0]
        fleet.all_have(last, 20)
        events = logged(beacon, start)
        for reader in fleet.readers:
            check(reader, for_user("bob", events))


def two_without(beacon: Beacon, gone: int) -> bool:
    pids = beacon.worker_pids()
    return len(pids) == 2 and gone not in pids

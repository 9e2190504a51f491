"""How soon: what is written reaches every open stream within a second, and so does an end of rights."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from app.accounts import users
from app.db import write
from tests.live import probe
from tests.live.fleet import Fleet, Reader, fleet_of
from tests.live.raw import Credential
from tests.support.beacon_server import Beacon
from tests.support.machine import ROOM_S, scaled
from tests.support.waiting import wait_for

SOON_S = 1.0
INSERT = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1])
connection.execute("INSERT INTO event (type, data_json) VALUES ('by.hand', '{}')")
at = time.monotonic()
connection.commit()
print(at)
"""


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beacon]:
    """Two workers."""
    running = Beacon(tmp_path_factory.mktemp("prompt"), config=probe.CONFIG, background=0, WORKERS=2)
    running.start()
    yield running
    running.end()


@pytest.fixture
def fleet(beacon: Beacon) -> Iterator[Fleet]:
    with fleet_of(beacon) as made:
        yield made


def insert_by_hand(beacon: Beacon) -> float:
    """By a process that knows nothing but the table; when it was about to commit (one clock for all processes)."""
    done = subprocess.run(
        [sys.executable, "-c", INSERT, str(beacon.database)], check=True, capture_output=True, timeout=scaled(20)
    )
    return float(done.stdout)


def on_both_workers(beacon: Beacon, fleet: Fleet, headers: dict[str, str]) -> list[Reader]:
    """Two streams with this credential on each worker."""
    fleet.all_open()  # none of the others is half open on a worker that is stopped

    def count() -> list[int]:
        return [probe.ask(pid).wires for pid in beacon.worker_pids()]

    # Those of the test before this one may not have been closed yet.
    wait_for(lambda: sum(count()) == len(fleet.readers), "the workers to hold the streams of this test alone")
    before = count()
    opened: list[Reader] = []
    for _ in beacon.each_worker_alone():
        opened += fleet.open(count=2, headers=headers, comes_back=False)
        fleet.all_open()
    assert count() == [wires + 2 for wires in before]
    return opened


def check_ended(fleet: Fleet, ended: list[Reader], since: float) -> None:
    fleet.until(lambda: all(reader.is_away for reader in ended), "the end of their streams")
    for reader in ended:
        assert reader.byes == [b'event: bye\ndata: {"reason":"revoked","poll":false}']
        assert reader.bye_at - since < scaled(SOON_S + ROOM_S)


def check_untouched(beacon: Beacon, fleet: Fleet, others: list[Reader]) -> None:
    fleet.all_have(beacon.publish([{"type": "go.on", "data": {}}])[0], of=others)
    assert all(reader.is_open and not reader.byes for reader in others)


def test_a_row_by_another_process_and_a_published_event_reach_three_hundred_streams_within_a_second(
    beacon: Beacon, fleet: Fleet
) -> None:
    fleet.open("alice", 100)
    fleet.open("bob", 200)
    fleet.all_open(30)
    assert all(probe.ask(pid).wires > 10 for pid in beacon.worker_pids())
    written = [insert_by_hand(beacon)]
    fleet.all_have(beacon.head())
    for _ in range(5):
        written.append(time.monotonic())
        fleet.all_have(beacon.publish([{"type": "prompt.check", "data": {}}])[0])
    for reader in fleet.readers:
        assert len(reader.ids) == len(written)
        lags = [at - since for at, since in zip(reader.arrived, written, strict=True)]
        assert max(lags) < scaled(SOON_S + ROOM_S)


def test_a_revoked_token_ends_its_streams_on_both_workers_within_a_second(beacon: Beacon, fleet: Fleet) -> None:
    credential = Credential.of(beacon)
    others = fleet.open("alice", 10)
    ending = on_both_workers(beacon, fleet, credential.headers)
    since = time.monotonic()
    credential.revoke()
    check_ended(fleet, ending, since)
    check_untouched(beacon, fleet, others)


def test_a_disabled_user_loses_all_streams_on_both_workers_within_a_second(beacon: Beacon, fleet: Fleet) -> None:
    with beacon.app.app_context(), write() as session:
        users.add(session, "eve", "viewer", "correct horse battery", "test")
    tokens = [Credential.of(beacon, "eve"), Credential.of(beacon, "eve")]
    others = fleet.open("alice", 10)
    ending = [reader for token in tokens for reader in on_both_workers(beacon, fleet, token.headers)]
    since = time.monotonic()
    with beacon.app.app_context(), write() as session:
        users.disable(session, "eve", "test")
    check_ended(fleet, ending, since)
    check_untouched(beacon, fleet, others)


def test_a_logout_ends_the_streams_of_that_session_on_both_workers_within_a_second(
    beacon: Beacon, fleet: Fleet
) -> None:
    leaving, staying = beacon.log_in("charlie"), beacon.log_in("charlie")
    cookies = [{"Cookie": f"beacon={browser.cookies['beacon']}"} for browser in (leaving, staying)]
    ending, others = (on_both_workers(beacon, fleet, cookie) for cookie in cookies)
    found = re.search(r'name="csrf-token" content="([^"]+)"', leaving.get(f"{beacon.url}/", timeout=scaled(10)).text)
    assert found
    since = time.monotonic()
    answer = leaving.post(
        f"{beacon.url}/logout", data={"csrf_token": found[1]}, timeout=scaled(10), allow_redirects=False
    )
    assert answer.status_code == 303
    check_ended(fleet, ending, since)
    check_untouched(beacon, fleet, others)

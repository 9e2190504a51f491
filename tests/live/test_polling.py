"""Hearing and believing, from a real job service to a real stream."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.live.conftest import MakeBeacon
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService, start_demo
from tests.support.live_stream import LiveStream
from tests.support.machine import scaled
from tests.support.waiting import wait_for

INTERVAL_S = 1.0
TAKE_OVER_S = 15.0


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[DemoService]:
    folder = tmp_path / "demo"
    folder.mkdir()
    service = start_demo(folder)
    yield service
    service.stop()


def watching(start_beacon: MakeBeacon, demo: DemoService, **settings: object) -> Beacon:
    beacon = start_beacon(POLL_INTERVAL_S=INTERVAL_S, **settings)
    beacon.watch("mail", demo.url)
    wait_for(lambda: status(beacon) == "verified", "the first poll", TAKE_OVER_S)
    return beacon


def registered(beacon: Beacon) -> dict[str, object]:
    answer = requests.get(f"{beacon.url}/services/registered", headers=beacon.bearer("alice", "read"), timeout=10)
    assert answer.status_code == 200, answer.text
    services: list[dict[str, object]] = answer.json()
    return services[0] if services else {}


def status(beacon: Beacon) -> object:
    return registered(beacon).get("status")


def holder_pid(beacon: Beacon) -> int:
    """The process that polls, as the lease names it."""
    rows = beacon.sql("SELECT holder FROM lease WHERE name = 'poller'")
    return int(rows[0][0].split(":")[1])


def polls(beacon: Beacon) -> int:
    count: int = beacon.sql("SELECT count(*) FROM check_sample")[0][0]
    return count


def states(beacon: Beacon) -> list[str]:
    """Every recorded change of state, oldest first."""
    return [row[0] for row in beacon.sql("SELECT status FROM discrepancy_event ORDER BY timestamp, rowid")]


def test_one_worker_polls_however_many_watch(start_beacon: MakeBeacon, demo: DemoService) -> None:
    beacon = watching(start_beacon, demo, WORKERS=2)
    before = polls(beacon)
    streams = [LiveStream(f"{beacon.url}/api/sse", beacon.bearer("alice", "stream")) for _ in range(10)]
    began = time.monotonic()
    wait_for(lambda: polls(beacon) >= before + 4, "four more polls")
    took = time.monotonic() - began
    # Two workers that both polled, or a poll for each viewer, would need half the time or less.
    assert took > 2.5 * INTERVAL_S
    for stream in streams:
        stream.cut()


def test_when_the_polling_worker_is_killed_polling_goes_on(start_beacon: MakeBeacon, demo: DemoService) -> None:
    beacon = watching(start_beacon, demo, WORKERS=2)
    killed = holder_pid(beacon)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: holder_pid(beacon) != killed, "another holder of the lease", TAKE_OVER_S)
    before = polls(beacon)
    wait_for(lambda: polls(beacon) > before, "a poll by the new holder")
    demo.create_job(state="failed")
    wait_for(lambda: '"failed":1' in newest_update(beacon), "the new holder to see the failed job")


def newest_update(beacon: Beacon) -> str:
    rows = beacon.sql("SELECT data_json FROM event WHERE type = 'reconciliation.update' ORDER BY id DESC LIMIT 1")
    return str(rows[0][0]) if rows else ""


def test_a_poller_that_was_frozen_and_thawed_cannot_act(start_beacon: MakeBeacon, demo: DemoService) -> None:
    """SIGSTOP is a paused machine: its lease runs out, and what it was doing is not written when it wakes."""
    beacon = watching(start_beacon, demo, WORKERS=2)
    frozen = holder_pid(beacon)
    fence = beacon.sql("SELECT fence FROM lease")[0][0]
    demo.fault("slow", seconds=1)  # so that it is stopped in the middle of a poll
    wait_for(lambda: '"status":"verified"' in newest_update(beacon), "a poll under way")
    os.kill(frozen, signal.SIGSTOP)
    try:
        demo.fault("none")
        wait_for(lambda: holder_pid(beacon) != frozen, "another holder of the lease", TAKE_OVER_S)
    finally:
        os.kill(frozen, signal.SIGCONT)
    newer = beacon.sql("SELECT holder, fence FROM lease")[0]
    assert newer[1] > fence
    before = polls(beacon)
    wait_for(lambda: polls(beacon) >= before + 3, "polls after the thaw")
    assert beacon.sql("SELECT holder, fence FROM lease")[0] == newer
    assert beacon.sql("SELECT count(*) FROM check_sample GROUP BY at HAVING count(*) > 1") == []


def test_three_lost_jobs_are_named_until_an_operator_accepts_them(start_beacon: MakeBeacon, demo: DemoService) -> None:
    beacon = watching(start_beacon, demo)
    demo.create_jobs(*({"state": "queued"} for _ in range(10)))
    wait_for(lambda: '"queued":10' in newest_update(beacon), "ten known jobs")
    with LiveStream(f"{beacon.url}/reconciliation/stream", beacon.bearer("alice", "stream")) as stream:
        lost = demo.lose(3)
        began = time.monotonic()
        told = stream.wait_named("reconciliation.update", within_s=10).json()
        assert time.monotonic() - began < scaled(INTERVAL_S * 1.1 + 3)
        assert told["status"] == "discrepancy"
        assert sorted(told["discrepancyDetails"]["missingJobIds"]) == sorted(lost)
        row = beacon.sql("SELECT status, discrepancy_details_json FROM discrepancy_event WHERE id = ?", told["eventId"])
        assert row[0][0] == "discrepancy"
        assert sorted(json.loads(row[0][1])["missingJobIds"]) == sorted(lost)
        before = polls(beacon)
        wait_for(lambda: polls(beacon) >= before + 3, "three more polls")
        assert status(beacon) == "discrepancy"
        accepting = {"all": True, "reason": "deleted by hand"}
        address = f"{beacon.url}/services/mail/discrepancies/accept"
        refused = requests.post(address, json=accepting, headers=beacon.bearer("alice", "command"), timeout=10)
        assert refused.status_code == 403
        accepted = requests.post(address, json=accepting, headers=beacon.bearer("bob", "command"), timeout=10)
        assert accepted.status_code == 200, accepted.text
        assert sorted(accepted.json()["closed"]) == sorted(lost)
        wait_for(lambda: stream.named("reconciliation.update")[-1].json()["status"] == "verified", "the recovery")
    assert states(beacon) == ["verified", "discrepancy", "verified"]


@pytest.mark.parametrize(
    ("fault", "words"), [("hang", "did not answer"), ("error", "500"), ("garbage", "not JSON"), ("refuse", "refused")]
)
def test_an_upstream_that_does_not_answer_is_stale_with_its_reason_and_no_numbers(
    start_beacon: MakeBeacon, demo: DemoService, fault: str, words: str
) -> None:
    beacon = watching(start_beacon, demo)
    demo.create_job(state="failed")
    wait_for(lambda: '"failed":1' in newest_update(beacon), "a known failed job")
    demo.fault(fault, seconds=60)
    wait_for(lambda: status(beacon) == "stale", "staleness", 20)
    told = json.loads(newest_update(beacon))
    assert told["counts"] == {}
    assert words in told["reason"]
    page = beacon.log_in("alice").get(f"{beacon.url}/", timeout=10)
    assert page.status_code == 200
    assert "Stale" in page.text


def test_a_service_that_went_back_in_time_is_stale_until_it_is_consistent_again(
    start_beacon: MakeBeacon, demo: DemoService
) -> None:
    beacon = watching(start_beacon, demo)
    demo.create_job(state="queued")
    wait_for(lambda: '"queued":1' in newest_update(beacon), "a known job")
    demo.fault("rewind", seconds=60)
    wait_for(lambda: '"kind":"rewound"' in newest_update(beacon), "the rewind to be seen", 15)
    assert status(beacon) == "stale"
    demo.fault("none")
    wait_for(lambda: status(beacon) != "stale", "consistency", 15)


def test_an_idle_service_appends_no_update_of_its_own(start_beacon: MakeBeacon, demo: DemoService) -> None:
    beacon = watching(start_beacon, demo)
    before, polled = appended(beacon, "reconciliation.update"), polls(beacon)
    wait_for(lambda: polls(beacon) >= polled + 4, "four more polls")
    assert appended(beacon, "reconciliation.update") == before
    assert appended(beacon, "reconciliation.verified") >= 3


def appended(beacon: Beacon, event_type: str) -> int:
    count: int = beacon.sql("SELECT count(*) FROM event WHERE type = ?", event_type)[0][0]
    return count

"""Commands over real workers that are killed, frozen and drained: never twice, never silent."""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.live.conftest import MakeBeacon
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService, start_demo
from tests.support.waiting import wait_for

CONFIG = Path(__file__).with_name("command_conf.py")
ENDED = ("success", "error", "timeout")
AT_ONCE = 50
PICKED_UP_S = 15.0
# Lease, call, reading and a worker's start, on a machine that does other things as well.
SETTLED_S = 40.0


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[DemoService]:
    folder = tmp_path / "demo"
    folder.mkdir()
    service = start_demo(folder)
    yield service
    service.stop()


def operated(start_beacon: MakeBeacon, demo: DemoService, tmp_path: Path, blow: str = "", **settings: Any) -> Beacon:
    """A server that watches the demo service as `mail`; `blow` hits one worker, once."""
    beacon = start_beacon(
        config=CONFIG, POLL_INTERVAL_S=1, BLOW=blow, BLOW_FILE=tmp_path / "blow", **{"WORKERS": 2, **settings}
    )
    beacon.watch("mail", demo.url)
    polled = "SELECT count(*) FROM check_sample"
    wait_for(lambda: beacon.sql(polled)[0][0] > 0, "the first poll", 20)
    return beacon


def body(action: str, target: str | None = None, **more: Any) -> dict[str, Any]:
    found = {"commandId": str(uuid.uuid4()), "actionType": action, "service": "mail", **more}
    return found if target is None else {**found, "target": target}


def send(beacon: Beacon, wanted: dict[str, Any]) -> requests.Response:
    headers = beacon.bearer("bob", "command", "read")
    return requests.post(f"{beacon.url}/commands/run", json=wanted, headers=headers, timeout=20)


def give(beacon: Beacon, wanted: dict[str, Any]) -> str:
    """Until it is taken on: a worker may die in the middle of the answer, and the same id may be sent again."""

    def taken() -> bool:
        try:
            return send(beacon, wanted).status_code == 202
        except requests.RequestException:
            return False

    wait_for(taken, "the command to be taken on", 20)
    command_id: str = wanted["commandId"]
    return command_id


def phase(beacon: Beacon, command_id: str) -> str:
    rows = beacon.sql("SELECT phase FROM command WHERE id = ?", command_id)
    return str(rows[0][0]) if rows else ""


def ended(beacon: Beacon, command_id: str, within_s: float = SETTLED_S) -> dict[str, Any]:
    wait_for(lambda: phase(beacon, command_id) in ENDED, "the command to end", within_s)
    headers = beacon.bearer("alice", "read")
    answer = requests.get(f"{beacon.url}/commands/{command_id}", headers=headers, timeout=20)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def entries(beacon: Beacon, command_id: str) -> list[str]:
    rows = beacon.sql("SELECT stage FROM command_audit WHERE command_id = ? ORDER BY seq", command_id)
    return [row[0] for row in rows]


def told(beacon: Beacon, command_id: str) -> list[str]:
    query = (
        "SELECT json_extract(data_json, '$.phase') FROM event "
        "WHERE type = 'command.status' AND json_extract(data_json, '$.commandId') = ? ORDER BY id"
    )
    return [row[0] for row in beacon.sql(query, command_id)]


def test_fifty_identical_requests_over_two_workers_are_one_execution(
    start_beacon: MakeBeacon, demo: DemoService, tmp_path: Path
) -> None:
    beacon = operated(start_beacon, demo, tmp_path)
    job = demo.create_job(state="failed", ageS=60)["id"]
    wanted = body("retry-job", job)
    beacon.bearer("bob", "command", "read")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda _: send(beacon, wanted), range(AT_ONCE)))
    assert [answer.status_code for answer in answers] == [202] * AT_ONCE
    assert {answer.json()["commandId"] for answer in answers} == {wanted["commandId"]}
    command = ended(beacon, wanted["commandId"])
    assert (command["phase"], command["verified"]) == ("success", True)
    assert len(demo.calls()) == 1
    assert entries(beacon, wanted["commandId"]) == ["accepted", "result"]
    again = send(beacon, wanted)
    assert (again.status_code, again.json()["phase"]) == (202, "success")
    assert len(demo.calls()) == 1


@pytest.mark.parametrize(
    ("step", "calls", "phases"),
    [
        ("accepted", 1, {"success"}),
        ("taken", 1, {"success"}),
        ("begun", 1, {"success"}),
        # Asked or not: nobody knows, so it is not asked again, and what reading does not show ends as that.
        ("asked", 0, {"timeout"}),
        ("acted", 1, {"success"}),
        ("recorded", 1, {"success"}),
        ("confirmed", 1, {"success"}),
        ("finished", 1, {"success"}),
    ],
)
def test_a_worker_killed_at_any_step_does_nothing_twice_and_leaves_nothing_unsaid(
    start_beacon: MakeBeacon, demo: DemoService, tmp_path: Path, step: str, calls: int, phases: set[str]
) -> None:
    beacon = operated(start_beacon, demo, tmp_path, f"{step}:kill")
    job = demo.create_job(state="failed", ageS=60)["id"]
    command_id = give(beacon, body("retry-job", job))
    wait_for((tmp_path / "blow").exists, "the worker to be hit")
    command = ended(beacon, command_id)
    assert command["phase"] in phases, command
    assert len(demo.calls()) == calls
    assert entries(beacon, command_id) == ["accepted", "result"]
    assert ("unknown" in told(beacon, command_id)) == (step in ("asked", "acted"))
    assert told(beacon, command_id)[-1] == command["phase"]


def test_a_delete_whose_worker_died_before_the_answer_was_recorded_is_settled_by_reading(
    start_beacon: MakeBeacon, demo: DemoService, tmp_path: Path
) -> None:
    beacon = operated(start_beacon, demo, tmp_path, "acted:kill")
    job = demo.create_job(state="failed", ageS=60)["id"]
    command = ended(beacon, give(beacon, body("delete-job", job)))
    assert (command["phase"], command["verified"]) == ("success", True)
    assert "reading it" in " ".join(command["logs"])
    assert len(demo.calls()) == 1
    assert demo.get(f"/api/v1/jobs/{job}").status_code == 410


def test_a_purge_whose_worker_died_before_the_answer_was_recorded_is_settled_by_reading(
    start_beacon: MakeBeacon, demo: DemoService, tmp_path: Path
) -> None:
    beacon = operated(start_beacon, demo, tmp_path, "acted:kill")
    demo.create_jobs(*[{"state": "queued", "queue": "mail", "ageS": 60}] * 3)
    seen = {"expectedCount": 3, "asOf": "2026-11-21T12:03:05Z"}
    command = ended(beacon, give(beacon, body("purge-queue", "mail", **seen)))
    assert (command["phase"], command["verified"]) == ("success", True)
    assert len(demo.calls()) == 1
    assert demo.counts()["counts"]["queued"] == 0


def test_a_bulk_command_goes_on_where_its_killed_worker_stopped(
    start_beacon: MakeBeacon, demo: DemoService, tmp_path: Path
) -> None:
    beacon = operated(start_beacon, demo, tmp_path)
    ids = [job["id"] for job in demo.create_jobs(*[{"state": "failed"}] * 200)]
    command_id = give(beacon, body("retry-job", targets=ids))
    wait_for(lambda: len(demo.calls()) > 10, "some of them to be done")
    runner = beacon.sql("SELECT runner FROM command WHERE id = ?", command_id)[0][0]
    os.kill(int(runner.split(":")[1]), signal.SIGKILL)
    assert len(demo.calls()) < len(ids), "it was over before the blow"
    command = ended(beacon, command_id, 90)
    calls = [call["path"] for call in demo.calls()]
    assert len(calls) == len(set(calls))
    done = [result for result in command["results"] if result["outcome"] == "done"]
    unsure = [result for result in command["results"] if result["outcome"] != "done"]
    assert len(done) + len(unsure) == 200
    assert len(unsure) <= 1, unsure
    assert len(calls) in (199, 200)


@pytest.mark.parametrize("step", ["accepted", "taken"])
def test_a_command_of_a_killed_worker_is_picked_up_in_time(
    start_beacon: MakeBeacon, demo: DemoService, tmp_path: Path, step: str
) -> None:
    """With the times of a real deployment."""
    beacon = operated(start_beacon, demo, tmp_path, f"{step}:kill", TIMES="real")
    job = demo.create_job(state="failed", ageS=60)["id"]
    began = time.monotonic()
    command_id = give(beacon, body("retry-job", job))
    wait_for(lambda: len(demo.calls()) == 1, "the command to be picked up", PICKED_UP_S)
    assert time.monotonic() - began < PICKED_UP_S
    assert ended(beacon, command_id)["phase"] == "success"


def test_a_runner_frozen_past_its_deadline_does_not_act_when_it_thaws(
    start_beacon: MakeBeacon, demo: DemoService, tmp_path: Path
) -> None:
    beacon = operated(start_beacon, demo, tmp_path, "asked:stop")
    job = demo.create_job(state="failed", ageS=60)["id"]
    command_id = give(beacon, body("retry-job", job))
    wait_for((tmp_path / "blow").exists, "the worker to be frozen")
    [frozen] = [pid for pid in beacon.worker_pids() if is_stopped(pid)]
    try:
        command = ended(beacon, command_id)
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert command["phase"] == "timeout"
    wait_for(lambda: f"command {command_id}" in beacon.log_text(), "the thawed runner to give up")
    assert demo.calls() == []
    assert demo.get(f"/api/v1/jobs/{job}").json()["state"] == "failed"
    assert entries(beacon, command_id) == ["accepted", "result"]


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def test_a_drain_waits_for_what_runs(start_beacon: MakeBeacon, demo: DemoService, tmp_path: Path) -> None:
    beacon = operated(start_beacon, demo, tmp_path, WORKERS=1, DRAIN_S=15)
    job = demo.create_job(state="failed", ageS=60)["id"]
    demo.fault("slow", seconds=1)
    command_id = give(beacon, body("retry-job", job))
    wait_for(lambda: len(demo.calls()) == 1, "the call", 20)
    beacon.stop(within_s=30)
    assert phase(beacon, command_id) == "success"
    assert entries(beacon, command_id) == ["accepted", "result"]


def test_what_a_drain_cannot_wait_for_is_unknown_and_settled_by_the_next_worker(
    start_beacon: MakeBeacon, demo: DemoService, tmp_path: Path
) -> None:
    beacon = operated(start_beacon, demo, tmp_path, WORKERS=1, DRAIN_S=1)
    job = demo.create_job(state="failed", ageS=60)["id"]
    command_id = give_while_slow(beacon, demo, job)
    beacon.stop(within_s=30)
    assert phase(beacon, command_id) == "unknown"
    assert told(beacon, command_id)[-1] == "unknown"
    demo.fault("none")
    beacon.start()
    assert ended(beacon, command_id)["phase"] == "success"
    assert len(demo.calls()) == 1
    assert entries(beacon, command_id) == ["accepted", "result"]


def give_while_slow(beacon: Beacon, demo: DemoService, job: str) -> str:
    """The service carries it out and keeps its answer back."""
    demo.fault("hang")
    command_id = give(beacon, body("retry-job", job))
    wait_for(lambda: len(demo.calls()) == 1, "the call", 30)
    return command_id

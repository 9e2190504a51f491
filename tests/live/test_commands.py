"""Commands over real workers that are killed, frozen and drained: never twice, never silent."""

import itertools
import os
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from app.db import write
from app.infra.clock import parse_utc, utc_now
from app.reconciliation import registry
from tests.live.conftest import MakeBeacon
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService, start_demo
from tests.support.machine import scaled
from tests.support.waiting import wait_for

CONFIG = Path(__file__).with_name("command_conf.py")
ENDED = ("success", "error", "timeout")
AT_ONCE = 30
# With the times of a real deployment.
PICKED_UP_S = 15.0
# Lease, call, reading and a worker's start.
SETTLED_S = 40.0
ANSWER_S = 20.0
NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Place:
    """A Beacon and the demo service that it watches, as a service of this test's own."""

    beacon: Beacon
    demo: DemoService
    service: str
    blow: Path
    workers: frozenset[int]
    """Those that there were when the test began."""

    @property
    def was_struck(self) -> bool:
        return self.blow.with_suffix(".struck").exists()

    def strike(self, step: str, how: str = "kill") -> None:
        """The next worker that comes to this step is hit."""
        self.blow.with_suffix(".struck").unlink(missing_ok=True)
        made = self.blow.with_suffix(".made")
        made.write_text(f"{step}:{how}")
        made.rename(self.blow)

    def wait_struck(self) -> None:
        """For the end of a worker, too."""
        wait_for(lambda: self.was_struck, "the worker to be hit")
        self.wait_killed()

    def wait_killed(self) -> None:
        wait_for(lambda: not self.workers <= process_pids(self.beacon), "the end of a worker")
        free_leases(self.beacon)

    def body(self, action: str, target: str | None = None, **more: Any) -> dict[str, Any]:
        found = {"commandId": str(uuid.uuid4()), "actionType": action, "service": self.service, **more}
        return found if target is None else {**found, "target": target}

    def failed_job(self) -> str:
        job_id: str = self.demo.create_job(state="failed", ageS=60)["id"]
        return job_id


@pytest.fixture(scope="module")
def demo_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoService]:
    service = start_demo(tmp_path_factory.mktemp("demo"))
    yield service
    service.stop()


@pytest.fixture
def demo(demo_process: DemoService) -> DemoService:
    demo_process.reset()
    return demo_process


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    # A lease is two of these: a runner renews it after a fourth of it and one look, 0.3 s apart at most, whatever the
    # machine; only what it has beyond that must grow with the machine's pauses.
    pace = 0.3 + scaled(0.4)
    made = {"config": CONFIG, "setup": "tests.live.command_blows", "background": 2}
    return {**made, "POLL_INTERVAL_S": 1, "PACE": pace, "BLOW_FILE": folder / "blow", **more}


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beacon]:
    """Two web workers and two in the background; one that was killed is replaced before the next test begins."""
    folder = tmp_path_factory.mktemp("commands")
    running = Beacon(folder, **settings(folder, WORKERS=2))
    running.start()
    yield running
    running.end()


def free_leases(beacon: Beacon) -> None:
    """Those of a process that was killed run out, as far as the database can tell. The ones of commands take nine
    seconds, which one test below waits for, and the poller's takes ten, which test_polling.py waits for."""
    for table, holder, ends in (("lease", "holder", "expires_at"), ("command", "runner", "lease_until")):
        for (name,) in beacon.sql(f"SELECT DISTINCT {holder} FROM {table} WHERE {ends} > 0 AND {holder} IS NOT NULL"):
            if int(name.split(":")[1]) not in beacon.background_pids():
                beacon.sql(f"UPDATE {table} SET {ends} = 0 WHERE {holder} = ?", name)


def process_pids(beacon: Beacon) -> frozenset[int]:
    return frozenset((*beacon.worker_pids(), *beacon.background_pids()))


def watching(beacon: Beacon, demo: DemoService) -> Place:
    service = f"mail{next(NUMBERS)}"
    beacon.watch(service, demo.url)
    polled = "SELECT count(*) FROM check_sample WHERE service_id = ?"
    wait_for(lambda: beacon.sql(polled, service)[0][0] > 0, "the first poll", 20)
    return Place(beacon, demo, service, beacon.folder / "blow", process_pids(beacon))


@pytest.fixture
def place(beacon: Beacon, demo: DemoService) -> Iterator[Place]:
    wait_for(lambda: len(process_pids(beacon)) == 4, "two web workers, and two in the background")
    wait_for(beacon.is_ready, "a ready server")
    free_leases(beacon)
    made = watching(beacon, demo)
    yield made
    with beacon.app.app_context(), write() as session:
        registry.remove(session, made.service, "test")


def send(beacon: Beacon, wanted: dict[str, Any]) -> requests.Response:
    headers = beacon.bearer("bob", "command", "read")
    return requests.post(f"{beacon.url}/commands/run", json=wanted, headers=headers, timeout=scaled(ANSWER_S))


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
    wait_for(lambda: phase(beacon, command_id) in ENDED, "the command to end", within_s, every_s=0.1)
    headers = beacon.bearer("alice", "read")
    answer = requests.get(f"{beacon.url}/commands/{command_id}", headers=headers, timeout=scaled(ANSWER_S))
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


@dataclass(frozen=True, slots=True)
class PickedUp:
    """A command of a worker that was killed, with the times of a real deployment: the lease takes nine seconds."""

    place: Place
    command_id: str
    given: datetime

    def check(self) -> None:
        beacon, demo = self.place.beacon, self.place.demo
        wait_for(lambda: len(demo.calls()) == 1, "the command to be picked up", PICKED_UP_S, every_s=0.1)
        took = parse_utc(demo.calls()[0]["at"]) - self.given
        assert took.total_seconds() < scaled(PICKED_UP_S)
        assert self.place.was_struck
        assert ended(beacon, self.command_id)["phase"] == "success"


@contextmanager
def killed_at(step: str, folder: Path) -> Iterator[PickedUp]:
    with ExitStack() as stack:
        demo = start_demo(folder)
        stack.callback(demo.stop, signal.SIGKILL)
        beacon = Beacon(folder, **settings(folder, TIMES="real"))
        stack.callback(beacon.end)
        beacon.start()
        place = watching(beacon, demo)
        wanted = place.body("retry-job", place.failed_job())
        place.strike(step)
        given = utc_now()
        yield PickedUp(place, give(beacon, wanted), given)


@pytest.fixture(scope="module", autouse=True)
def picked_up(_forked: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PickedUp]:
    """Begun before all tests of this module, so that its lease runs out while they run."""
    with killed_at("taken", tmp_path_factory.mktemp("real")) as made:
        yield made


def test_many_identical_requests_over_two_workers_are_one_execution(place: Place) -> None:
    beacon, demo = place.beacon, place.demo
    wanted = place.body("retry-job", place.failed_job())
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
        # Nobody runs it yet.
        ("accepted", 1, {"success"}),
        # With the times of a real deployment, below, in every run.
        pytest.param("taken", 1, {"success"}, marks=pytest.mark.long),
        pytest.param("begun", 1, {"success"}, marks=pytest.mark.long),
        # Asked or not: nobody knows, so it is not asked again, and what reading does not show ends as that.
        # The worker that is frozen there, below, says the same in every run.
        pytest.param("asked", 0, {"timeout"}, marks=pytest.mark.long),
        # Asked, and the answer is lost.
        ("acted", 1, {"success"}),
        pytest.param("recorded", 1, {"success"}, marks=pytest.mark.long),
        # Its result is written, and the last look is not.
        ("confirmed", 1, {"success"}),
        pytest.param("finished", 1, {"success"}, marks=pytest.mark.long),
    ],
)
def test_a_worker_killed_at_any_step_does_nothing_twice_and_leaves_nothing_unsaid(
    place: Place, step: str, calls: int, phases: set[str]
) -> None:
    beacon = place.beacon
    wanted = place.body("retry-job", place.failed_job())
    place.strike(step)
    command_id = give(beacon, wanted)
    place.wait_struck()
    command = ended(beacon, command_id)
    assert command["phase"] in phases, command
    assert len(place.demo.calls()) == calls
    assert entries(beacon, command_id) == ["accepted", "result"]
    assert ("unknown" in told(beacon, command_id)) == (step in ("asked", "acted"))
    assert told(beacon, command_id)[-1] == command["phase"]


def test_a_delete_whose_worker_died_before_the_answer_was_recorded_is_settled_by_reading(place: Place) -> None:
    job = place.failed_job()
    place.strike("acted")
    command_id = give(place.beacon, place.body("delete-job", job))
    place.wait_struck()
    command = ended(place.beacon, command_id)
    assert (command["phase"], command["verified"]) == ("success", True)
    assert "checking the service" in " ".join(command["logs"])
    assert len(place.demo.calls()) == 1
    assert place.demo.get(f"/api/v1/jobs/{job}").status_code == 410


def test_a_purge_whose_worker_died_before_the_answer_was_recorded_is_settled_by_reading(place: Place) -> None:
    place.demo.create_jobs(*[{"state": "queued", "queue": "mail", "ageS": 60}] * 3)
    place.strike("acted")
    seen = {"expectedCount": 3, "asOf": "2026-11-21T12:03:05Z"}
    command_id = give(place.beacon, place.body("purge-queue", "mail", **seen))
    place.wait_struck()
    command = ended(place.beacon, command_id)
    assert (command["phase"], command["verified"]) == ("success", True)
    assert len(place.demo.calls()) == 1
    assert place.demo.counts()["counts"]["queued"] == 0


def test_a_bulk_command_goes_on_where_its_killed_worker_stopped(place: Place) -> None:
    beacon, demo = place.beacon, place.demo
    ids = [job["id"] for job in demo.create_jobs(*[{"state": "failed"}] * 100)]
    command_id = give(beacon, place.body("retry-job", targets=ids))
    wait_for(lambda: len(demo.calls()) > 10, "some of them to be done")
    named = beacon.sql("SELECT runner FROM command WHERE id = ?", command_id)[0][0]
    os.kill(int(named.split(":")[1]), signal.SIGKILL)
    assert len(demo.calls()) < len(ids), "it was over before the blow"
    place.wait_killed()
    command = ended(beacon, command_id, 90)
    calls = [call["path"] for call in demo.calls()]
    assert len(calls) == len(set(calls))
    done = [result for result in command["results"] if result["outcome"] == "done"]
    unsure = [result for result in command["results"] if result["outcome"] != "done"]
    assert len(done) + len(unsure) == len(ids)
    assert len(unsure) <= 1, unsure
    assert len(calls) in (len(ids) - 1, len(ids))


@pytest.mark.long
def test_a_command_of_a_worker_killed_before_it_is_taken_is_picked_up_in_time(tmp_path: Path) -> None:
    """With the times of a real deployment."""
    with killed_at("accepted", tmp_path) as made:
        made.check()


def test_a_command_of_a_killed_worker_is_picked_up_in_time(picked_up: PickedUp) -> None:
    """With the times of a real deployment."""
    picked_up.check()


def test_a_runner_frozen_past_its_deadline_does_not_act_when_it_thaws(place: Place) -> None:
    beacon, demo = place.beacon, place.demo
    job = place.failed_job()
    place.strike("asked", "stop")
    command_id = give(beacon, place.body("retry-job", job))
    wait_for(lambda: any(map(is_stopped, beacon.background_pids())), "the worker to be frozen")
    [frozen] = [pid for pid in beacon.background_pids() if is_stopped(pid)]
    try:
        command = ended(beacon, command_id)
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert command["phase"] == "timeout"
    assert "unknown" in told(beacon, command_id)
    wait_for(lambda: f"command_id={command_id}" in beacon.log_text(), "the thawed runner to give up")
    assert demo.calls() == []
    assert demo.get(f"/api/v1/jobs/{job}").json()["state"] == "failed"
    assert entries(beacon, command_id) == ["accepted", "result"]


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def test_a_drain_waits_for_what_runs(start_beacon: MakeBeacon, demo: DemoService, tmp_path: Path) -> None:
    beacon = start_beacon(**settings(tmp_path, background=1, DRAIN_S=scaled(10)))
    place = watching(beacon, demo)
    wanted = place.body("retry-job", place.failed_job())
    demo.fault("slow", seconds=0.3)
    command_id = give(beacon, wanted)
    wait_for(lambda: len(demo.calls()) == 1, "the call", 20)
    beacon.stop(within_s=30)
    assert phase(beacon, command_id) == "success"
    assert entries(beacon, command_id) == ["accepted", "result"]


def test_what_a_drain_cannot_wait_for_is_unknown_and_settled_by_the_next_worker(
    start_beacon: MakeBeacon, demo: DemoService, tmp_path: Path
) -> None:
    beacon = start_beacon(**settings(tmp_path, background=1, DRAIN_S=0.1, POLL_INTERVAL_S=60))
    place = watching(beacon, demo)
    # Two jobs, because the state of a single one is read before the call, and that would hang as well.
    wanted = place.body("retry-job", targets=[place.failed_job(), place.failed_job()])
    demo.fault("hang")  # the service carries it out and keeps its answer back
    command_id = give(beacon, wanted)
    wait_for(lambda: len(demo.calls()) == 1, "the call", 30)
    beacon.stop(within_s=30)
    assert phase(beacon, command_id) == "unknown"
    assert told(beacon, command_id)[-1] == "unknown"
    demo.fault("none")
    beacon.start()
    assert ended(beacon, command_id)["phase"] == "success"
    calls = [call["path"] for call in demo.calls()]
    assert len(calls) == len(set(calls)) == 2, "each once: the first is settled by reading, the second is asked now"
    assert entries(beacon, command_id) == ["accepted", "result"]

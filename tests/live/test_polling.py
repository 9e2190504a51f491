"""Hearing and believing, from a real job service to a real stream."""

import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from app.db import write
from app.reconciliation import registry
from tests.sources.palantir.answers import serve_palantir
from tests.sources.upstream import Upstream, upstream
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService, start_demo
from tests.support.live_stream import LiveStream
from tests.support.machine import scaled
from tests.support.processes import stopped
from tests.support.waiting import wait_for

# Short, because what is waited for takes several of them; a service is stale after three.
INTERVAL_S = 0.25
# The lease of a worker that died runs out after ten seconds, and others ask for it every three.
TAKE_OVER_S = 20.0
NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Watched:
    """A demo service of a test's own, and what the Beacon that all tests share says of it."""

    beacon: Beacon
    demo: DemoService
    id: str

    @property
    def status(self) -> object:
        headers = self.beacon.bearer("alice", "read")
        answer = requests.get(f"{self.beacon.url}/services/registered", headers=headers, timeout=scaled(10))
        assert answer.status_code == 200, answer.text
        return next((service["status"] for service in answer.json() if service["id"] == self.id), None)

    @property
    def samples(self) -> int:
        """Of its polls; those that change nothing leave one a second, which is some three polls here."""
        count: int = self.beacon.sql("SELECT count(*) FROM check_sample WHERE service_id = ?", self.id)[0][0]
        return count

    @property
    def states(self) -> list[str]:
        """Every recorded change of state, oldest first."""
        query = "SELECT status FROM discrepancy_event WHERE service = ? ORDER BY timestamp, rowid"
        return [row[0] for row in self.beacon.sql(query, self.id)]

    @property
    def newest_update(self) -> str:
        told = self._events("reconciliation.update")
        return told[-1] if told else ""

    def appended(self, event_type: str) -> int:
        return len(self._events(event_type))

    def wait_samples(self, more: int) -> None:
        before = self.samples
        wait_for(lambda: self.samples >= before + more, f"{more} more samples")

    def _events(self, event_type: str) -> list[str]:
        query = "SELECT data_json FROM event WHERE type = ? AND instr(data_json, ?) ORDER BY id"
        return [str(row[0]) for row in self.beacon.sql(query, event_type, f'"{self.id}"')]


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beacon]:
    """Two workers, of which one polls."""
    folder = tmp_path_factory.mktemp("polling")
    running = Beacon(folder, setup="tests.live.quick_poller", background=2, POLL_INTERVAL_S=INTERVAL_S)
    running.start()
    yield running
    running.end()


@pytest.fixture(scope="module")
def demo_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoService]:
    service = start_demo(tmp_path_factory.mktemp("demo"))
    yield service
    service.stop(signal.SIGKILL)


@pytest.fixture
def demo(demo_process: DemoService) -> DemoService:
    demo_process.reset()
    return demo_process


@pytest.fixture
def own_demo(tmp_path: Path) -> Iterator[DemoService]:
    """A process that refuses connections or went back in time cannot be told to forget it."""
    service = start_demo(tmp_path)
    yield service
    service.stop(signal.SIGKILL)


@contextmanager
def watching(beacon: Beacon, url: str) -> Iterator[str]:
    """A service of a name of its own, which is forgotten in the end."""
    wait_for(lambda: len(beacon.background_pids()) == 2, "two workers")
    service_id = f"mail{next(NUMBERS)}"
    beacon.watch(service_id, url)
    yield service_id
    with beacon.app.app_context(), write() as session:
        registry.remove(session, service_id, "test")


@contextmanager
def polled(beacon: Beacon, demo: DemoService) -> Iterator[Watched]:
    with watching(beacon, demo.url) as service_id:
        made = Watched(beacon, demo, service_id)
        wait_for(lambda: made.status == "verified", "the first poll", TAKE_OVER_S)
        yield made


@pytest.fixture
def watched(beacon: Beacon, demo: DemoService) -> Iterator[Watched]:
    with polled(beacon, demo) as made:
        yield made


@pytest.fixture
def watched_alone(beacon: Beacon, own_demo: DemoService) -> Iterator[Watched]:
    with polled(beacon, own_demo) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def taken_over(_forked: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watched, Future[None]]]:
    """A service whose polling worker is killed, and when another one has its lease. Begun before all tests of this
    module, so that the ten seconds of the lease pass while they run; this one has the times of a real deployment."""
    folder = tmp_path_factory.mktemp("killed")
    with ExitStack() as stack:
        demo = start_demo(folder)
        stack.callback(demo.stop, signal.SIGKILL)
        beacon = Beacon(folder, background=2, POLL_INTERVAL_S=INTERVAL_S)
        stack.callback(beacon.end)
        beacon.start()
        watched = Watched(beacon, demo, "mail")
        beacon.watch(watched.id, demo.url)
        wait_for(lambda: watched.status == "verified", "the first poll", TAKE_OVER_S)
        killed = holder_pid(beacon)
        os.kill(killed, signal.SIGKILL)
        # Meanwhile it looks at a file only: a test must not leave a socket behind.
        waiting = stack.enter_context(ThreadPoolExecutor(1)).submit(wait_taken_over, beacon, killed)
        yield watched, waiting


def wait_taken_over(beacon: Beacon, killed: int) -> None:
    wait_for(lambda: holder_pid(beacon) != killed, "another holder of the lease", TAKE_OVER_S, every_s=0.1)


def lease(beacon: Beacon) -> tuple[str, int]:
    """Its holder and its fence."""
    [(holder, fence)] = beacon.sql("SELECT holder, fence FROM lease WHERE name = 'poller'")
    return holder, fence


def holder_pid(beacon: Beacon) -> int:
    """The process that polls, as the lease names it."""
    return int(lease(beacon)[0].split(":")[1])


def test_one_worker_polls_however_many_watch(beacon: Beacon) -> None:
    with upstream() as service:
        serve_palantir(service, {"queued": ["a"]})
        with watching(beacon, service.url):
            streams = [LiveStream(f"{beacon.url}/api/sse", beacon.bearer("alice", "stream")) for _ in range(10)]
            wait_for(lambda: polls(service) > 0, "the first poll", TAKE_OVER_S)
            began, before = time.monotonic(), polls(service)
            wait_for(lambda: polls(service) >= before + 8, "eight more polls")
            took = time.monotonic() - began
            for stream in streams:
                stream.cut()
    # One worker needs seven intervals or more; two that both polled, or a poll for each viewer, four or less.
    assert took > 5.5 * INTERVAL_S


def polls(service: Upstream) -> int:
    return service.asked.count("/api/v1/health")


def test_a_poller_that_was_frozen_and_thawed_cannot_act(watched: Watched) -> None:
    """SIGSTOP is a paused machine: its lease runs out, and what it was doing is not written when it wakes."""
    beacon, demo = watched.beacon, watched.demo
    frozen, (_, fence) = holder_pid(beacon), lease(beacon)
    demo.fault("slow", seconds=1)  # so that it is stopped in the middle of a poll
    wait_for(lambda: demo.get("/_fault").json()["waiting"], "a poll under way")
    with stopped(frozen):
        demo.fault("none")
        # Ten seconds pass, as far as the database can tell; the last test waits for them.
        beacon.sql("UPDATE lease SET expires_at = 0 WHERE name = 'poller'")
        wait_for(lambda: holder_pid(beacon) != frozen, "another holder of the lease", TAKE_OVER_S)
    newer = lease(beacon)
    assert newer[1] > fence
    watched.wait_samples(2)
    assert lease(beacon) == newer
    twice = "SELECT count(*) FROM check_sample WHERE service_id = ? GROUP BY at HAVING count(*) > 1"
    assert beacon.sql(twice, watched.id) == []


def test_three_lost_jobs_are_named_until_an_operator_accepts_them(watched: Watched) -> None:
    beacon, demo = watched.beacon, watched.demo
    demo.create_jobs(*({"state": "queued"} for _ in range(10)))
    wait_for(lambda: '"queued":10' in watched.newest_update, "ten known jobs")
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
        watched.wait_samples(2)
        assert watched.status == "discrepancy"
        accepting = {"all": True, "reason": "deleted by hand"}
        address = f"{beacon.url}/services/{watched.id}/discrepancies/accept"
        refused = requests.post(address, json=accepting, headers=beacon.bearer("alice", "command"), timeout=scaled(10))
        assert refused.status_code == 403
        accepted = requests.post(address, json=accepting, headers=beacon.bearer("bob", "command"), timeout=scaled(10))
        assert accepted.status_code == 200, accepted.text
        assert sorted(accepted.json()["closed"]) == sorted(lost)
        wait_for(lambda: stream.named("reconciliation.update")[-1].json()["status"] == "verified", "the recovery")
    assert watched.states == ["verified", "discrepancy", "verified"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        # Five seconds of patience; test_bad_upstreams.py waits for them in every run.
        pytest.param("hang", "did not answer", marks=pytest.mark.long),
        ("error", "500"),
        ("garbage", "not JSON"),
    ],
)
def test_an_upstream_that_does_not_answer_is_stale_with_its_reason_and_no_numbers(
    watched: Watched, fault: str, words: str
) -> None:
    check_stale(watched, fault, words)


def test_an_upstream_that_refuses_is_stale_with_its_reason_and_no_numbers(watched_alone: Watched) -> None:
    # A poll that waits to be accepted in that moment is cut off; every later one is refused.
    check_stale(watched_alone, "refuse", "refused", "closed the connection")


def check_stale(watched: Watched, fault: str, *reasons: str) -> None:
    beacon, demo = watched.beacon, watched.demo
    demo.create_job(state="failed")
    wait_for(lambda: '"failed":1' in watched.newest_update, "a known failed job")
    demo.fault(fault, seconds=60)
    wait_for(lambda: watched.status == "stale", "staleness", 20)  # as soon as nobody has checked for three intervals
    wait_for(lambda: '"status":"stale"' in watched.newest_update, "the event that tells of it", 20)
    told = json.loads(watched.newest_update)
    assert told["counts"] == {}
    assert any(words in told["reason"] for words in reasons), told["reason"]
    page = beacon.log_in("alice").get(f"{beacon.url}/", timeout=scaled(10))
    assert page.status_code == 200
    assert "Stale" in page.text


def test_a_service_that_went_back_in_time_is_stale_until_it_is_consistent_again(watched_alone: Watched) -> None:
    watched = watched_alone
    watched.demo.create_job(state="queued")
    wait_for(lambda: '"queued":1' in watched.newest_update, "a known job")
    watched.demo.fault("rewind", seconds=60)
    wait_for(lambda: '"kind":"rewound"' in watched.newest_update, "the rewind to be seen", 15)
    assert watched.status == "stale"
    watched.demo.fault("none")
    wait_for(lambda: watched.status != "stale", "consistency", 15)


def test_an_idle_service_appends_no_update_of_its_own(watched: Watched) -> None:
    told, checked = watched.appended("reconciliation.update"), watched.appended("reconciliation.verified")
    watched.wait_samples(2)
    wait_for(lambda: watched.appended("reconciliation.verified") >= checked + 2, "two seconds of checks")
    assert watched.appended("reconciliation.update") == told


def test_when_the_polling_worker_is_killed_polling_goes_on(taken_over: tuple[Watched, Future[None]]) -> None:
    watched, waiting = taken_over
    waiting.result()
    watched.wait_samples(1)
    watched.demo.create_job(state="failed")
    wait_for(lambda: '"failed":1' in watched.newest_update, "the new holder to see the failed job")

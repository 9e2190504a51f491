"""What is broken in a real RQ from outside: a real Beacon names it, ids included, and takes it back once it is mended.

Each within one interval and two seconds.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from app.db import write
from app.reconciliation import registry
from tests.services.rq_scene import Scene
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled
from tests.support.waiting import wait_for

INTERVAL_S = 0.5
WITHIN_S = INTERVAL_S + 2
START_S = 30.0
NUMBERS = itertools.count()


class Watched:
    """A Beacon that watches the scene as the service `name`."""

    def __init__(self, beacon: Beacon, scene: Scene, name: str) -> None:
        self.beacon, self.scene, self.name = beacon, scene, name

    def told(self) -> dict[str, Any]:
        rows = self.beacon.sql(f"SELECT payload_json FROM service_state WHERE service_id = '{self.name}'")
        payload: dict[str, Any] = json.loads(rows[0][0]) if rows and rows[0][0] else {}
        return payload

    def findings(self) -> dict[str, list[str]]:
        """Of its data: that no worker serves the queue is so in most tests, and said where a machine is slow."""
        return {one["kind"]: one["jobIds"] for one in self.told().get("findings") or [] if one["kind"] != "no-worker"}

    def verified(self, within_s: float = WITHIN_S) -> None:
        def is_so() -> bool:
            return self.told().get("status") == "verified" and self.findings() == {}

        self._wait(is_so, "verified", within_s)

    def finds(self, **findings: list[str]) -> None:
        """Exactly these, by kind; `_` stands for `-`."""
        expected = {kind.replace("_", "-"): ids for kind, ids in findings.items()}
        self._wait(lambda: self.findings() == expected, f"{expected}", WITHIN_S)
        assert self.told()["status"] == "discrepancy"

    def knows(self, *job_ids: str) -> None:
        """Has seen these jobs, so that it can miss them."""

        def seen() -> bool:
            rows = self.beacon.sql(f"SELECT job_id FROM known_job WHERE service_id = '{self.name}'")
            return set(job_ids) <= {str(row[0]) for row in rows}

        self._wait(seen, f"{job_ids} to be known", START_S)

    def _wait(self, holds: Callable[[], bool], what: str, within_s: float) -> None:
        try:
            wait_for(holds, what, within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; told {self.told()}; {self.beacon.log_text()[-1500:]}") from None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, Beacon]]:
    with Scene() as scene:
        beacon = Beacon(tmp_path_factory.mktemp("beacon"), POLL_INTERVAL_S=INTERVAL_S)
        try:
            beacon.start()
            yield scene, beacon
        finally:
            beacon.end()


@pytest.fixture
def watched(place: tuple[Scene, Beacon]) -> Watched:
    """Verified when a test begins. A service of its own: one that is broken again and again flaps."""
    scene, beacon = place
    name = f"jobs{next(NUMBERS)}"
    with beacon.app.app_context(), write() as session:
        registry.add(session, id=name, name="Jobs", kind="rq", url=scene.valkey.url)
    made = Watched(beacon, scene, name)
    made.verified(START_S)
    return made


def put(watched: Watched, *job_ids: str) -> None:
    for job_id in job_ids:
        watched.scene.queue().enqueue("time.sleep", 600, job_id=job_id)
    watched.knows(*job_ids)


def drain(watched: Watched, *job_ids: str) -> None:
    """Done by a worker, so that nothing of the test is left over."""
    for job_id in job_ids:
        job = watched.scene.queue().fetch_job(job_id)
        assert job is not None
        job.cancel()


def test_a_job_whose_hash_is_deleted_is_dangling_until_it_is_back(watched: Watched) -> None:
    put(watched, "a", "b")
    kept = watched.scene.redis.dump("rq:job:a")
    watched.scene.redis.delete("rq:job:a")
    watched.finds(dangling=["a"])
    watched.scene.redis.restore("rq:job:a", 0, kept)
    watched.verified()
    drain(watched, "a", "b")


def test_a_lost_list_entry_is_a_missing_job_until_it_is_back(watched: Watched) -> None:
    put(watched, "c", "d")
    watched.scene.redis.lrem("rq:queue:mail", 1, "c")
    watched.finds(missing=["c"])
    watched.scene.redis.lpush("rq:queue:mail", "c")
    watched.verified()
    drain(watched, "c", "d")


def test_a_job_that_vanishes_without_a_trace_is_missing(watched: Watched) -> None:
    """Its result would have stayed for 500 s."""
    put(watched, "e")
    kept = watched.scene.redis.dump("rq:job:e")
    watched.scene.redis.delete("rq:job:e", "rq:queue:mail")
    watched.finds(missing=["e"])
    watched.scene.redis.restore("rq:job:e", 0, kept)
    watched.scene.redis.rpush("rq:queue:mail", "e")
    watched.verified()
    drain(watched, "e")


def test_numbers_that_do_not_fit_the_ids_are_a_count_mismatch(watched: Watched) -> None:
    put(watched, "f")
    watched.scene.redis.rpush("rq:queue:mail", "f")
    watched.finds(count_mismatch=[], duplicate=["f"])
    assert watched.told()["reason"] == "queued: 2 counted, 1 listed"
    watched.scene.redis.lrem("rq:queue:mail", -1, "f")
    watched.verified()
    drain(watched, "f")


def test_a_killed_worker_leaves_an_orphan_until_rq_gives_it_up(watched: Watched) -> None:
    scene = watched.scene
    scene.queue().enqueue("time.sleep", 600, job_id="g")
    worker = scene.worker("mail", name="anna")
    scene.wait_until_started("g")
    watched.knows("g")
    watched.verified(START_S)
    scene.kill(worker)
    # RQ believes in a worker for a minute after its last sign of life. That minute is over here.
    scene.redis.pexpire("rq:worker:anna", 1)
    watched.finds(orphaned=["g"])
    (key,) = scene.redis.zrange("rq:wip:mail", 0, -1)
    scene.redis.zadd("rq:wip:mail", {key: time.time() - 1})
    scene.queue().started_job_registry.cleanup()  # what another worker does every ten minutes
    watched.verified()


def test_a_server_that_stops_or_stalls_makes_the_service_stale_and_no_more(watched: Watched) -> None:
    # A look that began just before waits for 5 s, and says so once that is over.
    stale_within_s = 3 * INTERVAL_S + 2 + 5
    put(watched, "h")
    watched.scene.valkey.freeze()
    wait_for(lambda: watched.told()["status"] == "stale", "a stale service", stale_within_s)
    assert watched.told()["reason"] == "did not answer within 5 s"
    assert watched.findings() == {}
    watched.scene.valkey.thaw()
    watched.verified(START_S)
    drain(watched, "h")


def test_a_job_that_keeps_no_result_is_not_missed_and_one_that_is_lost_beside_it_is(
    place: tuple[Scene, Beacon], watched: Watched
) -> None:
    scene, queue = place[0], place[0].queue()
    for number in range(5):
        queue.enqueue("time.sleep", 0, job_id=f"no-result-{number}", result_ttl=0)
    queue.enqueue("time.sleep", 0, job_id="usual")
    watched.knows(*(f"no-result-{number}" for number in range(5)), "usual")
    scene.worker("mail", name="once", options=("--burst",)).wait(scaled(60))
    watched.verified(START_S)
    queue.enqueue("time.sleep", 0, job_id="lost")
    watched.knows("lost")
    scene.redis.delete("rq:queue:mail", "rq:job:lost")
    watched.finds(missing=["lost"])


def test_overdue_jobs_are_found_until_a_scheduler_has_queued_them(
    place: tuple[Scene, Beacon], watched: Watched
) -> None:
    scene, queue = place[0], place[0].queue()
    queue.enqueue_in(timedelta(hours=1), "time.sleep", 0, job_id="late")
    scene.redis.zadd("rq:scheduled:mail", {"late": time.time() - 120})
    watched.finds(overdue=["late"])
    assert "no scheduler serves mail" in watched.told()["reason"]
    worker = scene.worker("mail", options=("--with-scheduler",))
    try:
        watched.verified(START_S)
    finally:
        scene.kill(worker)

"""What is broken in a real RQ from outside: a real Beacon names it, ids included, and takes it back once it is mended.

Each within one interval and two seconds.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import redis
from rq import Queue

from app.db import write
from app.reconciliation import registry
from tests.services.rq_scene import Scene
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled
from tests.support.waiting import wait_for

# With which processes poll; it is a module of its own, because it changes the process that imports it.
IMPATIENCE, ANSWER_S = "tests.services.rq_impatience", 2.0
INTERVAL_S = 0.5
WITHIN_S = INTERVAL_S + 2
START_S = 30.0
NUMBERS = itertools.count()

Mend = Callable[[], object]


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

    def is_verified(self) -> bool:
        return self.told().get("status") == "verified" and self.findings() == {}

    def verified(self, within_s: float = WITHIN_S) -> None:
        self._wait(self.is_verified, "verified", within_s)

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
        wait_together([self], holds, what, within_s)


def wait_together(services: Sequence[Watched], holds: Callable[[], bool], what: str, within_s: float) -> None:
    """A failure says what Beacon told of them."""
    try:
        wait_for(holds, what, within_s)
    except AssertionError as error:
        told, log = [service.told() for service in services], services[0].beacon.log_text()
        raise AssertionError(f"{error}; told {told}; {log[-1500:]}") from None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, forked_servers: None) -> Iterator[tuple[Scene, Beacon]]:
    with Scene() as scene:
        folder = tmp_path_factory.mktemp("beacon")
        beacon = Beacon(folder, setup=IMPATIENCE, POLL_INTERVAL_S=INTERVAL_S)
        try:
            beacon.start()
            yield scene, beacon
        finally:
            beacon.end()


@contextmanager
def watching(place: tuple[Scene, Beacon], url: str) -> Iterator[Watched]:
    """A service of a test's own: one that is broken again and again flaps. It is polled until the block ends."""
    scene, beacon = place
    name = f"jobs{next(NUMBERS)}"
    with beacon.app.app_context(), write() as session:
        registry.add(session, id=name, name="Jobs", kind="rq", url=url)
    yield Watched(beacon, scene, name)
    with beacon.app.app_context(), write() as session:
        registry.remove(session, name, "test")


@pytest.fixture
def watched(place: tuple[Scene, Beacon]) -> Iterator[Watched]:
    """Verified when a test begins."""
    with watching(place, place[0].valkey.url) as made:
        made.verified(START_S)
        yield made


def put(queue: Queue, *job_ids: str) -> None:
    for job_id in job_ids:
        queue.enqueue("time.sleep", 600, job_id=job_id)


def delete_hash(client: redis.Redis) -> Mend:
    kept: Any = client.dump("rq:job:a")
    client.delete("rq:job:a")
    return lambda: client.restore("rq:job:a", 0, kept)


def lose_list_entry(client: redis.Redis) -> Mend:
    client.lrem("rq:queue:mail", 1, "c")
    return lambda: client.lpush("rq:queue:mail", "c")


def vanish_without_a_trace(client: redis.Redis) -> Mend:
    """Its result would have stayed for 500 s."""
    kept: Any = client.dump("rq:job:e")
    client.delete("rq:job:e", "rq:queue:mail")

    def mend() -> None:
        client.restore("rq:job:e", 0, kept)
        client.rpush("rq:queue:mail", "e")

    return mend


def list_twice(client: redis.Redis) -> Mend:
    client.rpush("rq:queue:mail", "f")
    return lambda: client.lrem("rq:queue:mail", -1, "f")


@dataclass(frozen=True, slots=True)
class Damage:
    """What is done to the jobs of a database, and what Beacon is to name because of it."""

    do: Callable[[redis.Redis], Mend]
    jobs: tuple[str, ...]
    findings: dict[str, list[str]]
    reason: str | None = None


DAMAGES = (
    Damage(delete_hash, ("a", "b"), {"dangling": ["a"]}),
    Damage(lose_list_entry, ("c", "d"), {"missing": ["c"]}),
    Damage(vanish_without_a_trace, ("e",), {"missing": ["e"]}),
    # Numbers that do not fit the ids.
    Damage(list_twice, ("f",), {"count-mismatch": [], "duplicate": ["f"]}, "queued: 2 counted, 1 listed"),
)


def test_damaged_data_is_named_until_it_is_mended(place: tuple[Scene, Beacon]) -> None:
    """All at once, each in a database of its own that is a service, so that no interval is waited for twice."""
    valkey = place[0].valkey
    with ExitStack() as stack:
        numbers = range(1, len(DAMAGES) + 1)  # the other tests have the first one
        clients = [stack.enter_context(redis.Redis(port=valkey.port, db=n, protocol=2)) for n in numbers]
        services = [stack.enter_context(watching(place, valkey.database_url(n))) for n in numbers]
        for service in services:
            service.verified(START_S)
        for damage, client in zip(DAMAGES, clients, strict=True):
            put(Queue("mail", connection=client), *damage.jobs)
        for damage, service in zip(DAMAGES, services, strict=True):
            service.knows(*damage.jobs)
        mends = [damage.do(client) for damage, client in zip(DAMAGES, clients, strict=True)]
        expected = [damage.findings for damage in DAMAGES]
        wait_together(services, lambda: [each.findings() for each in services] == expected, f"{expected}", WITHIN_S)
        for damage, service in zip(DAMAGES, services, strict=True):
            assert service.told()["status"] == "discrepancy"
            assert damage.reason in (None, service.told().get("reason"))
        for mend in mends:
            mend()
        wait_together(services, lambda: all(each.is_verified() for each in services), "all to be mended", WITHIN_S)


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
    # A look that began just before waits for an answer, and says so once that is over.
    stale_within_s = 3 * INTERVAL_S + 2 + ANSWER_S
    put(watched.scene.queue(), "h")
    watched.knows("h")
    watched.scene.valkey.freeze()
    wait_for(lambda: watched.told()["status"] == "stale", "a stale service", stale_within_s)
    assert watched.told()["reason"] == f"did not answer within {ANSWER_S:g} s"
    assert watched.findings() == {}
    watched.scene.valkey.thaw()
    watched.verified(START_S)
    job = watched.scene.queue().fetch_job("h")
    assert job is not None
    job.cancel()  # so that nothing of the test is left over


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

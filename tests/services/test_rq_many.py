"""A real RQ in which more jobs wait than Beacon compares one by one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app.config import Settings
from app.db import write
from app.infra.lease import Lease
from app.reconciliation import registry
from app.reconciliation.explanations import EventExplainer
from app.reconciliation.observer import ServiceObserver, WatchedService
from bench.waiting_jobs import enqueue_jobs
from tests.notifications.scene import bodies
from tests.reconciliation.desk import INTERVAL_S, SERVICE, Book
from tests.services.rq_scene import Scene
from tests.support.machine import scaled

BOUND = 100_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """On SQLite: this is about RQ."""
    return Settings(instance_dir=tmp_path / "instance", secret_key="for the tests only")


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Scene() as made:
        yield made


class Watch:
    """Checks the scene when it is told to."""

    def __init__(self, scene: Scene) -> None:
        self._book = Book()
        self._lease = Lease(ttl_s=scaled(60))  # a poller would renew it
        assert self._lease.try_acquire()
        self._observer = ServiceObserver(self._lease, INTERVAL_S, [EventExplainer()])
        self.service = WatchedService(SERVICE, scene.source(BOUND))

    def check(self) -> dict[str, Any]:
        """What Beacon says of the service then; the findings by kind, without the queues that nobody serves."""
        assert self._lease.renew()
        assert self._observer.observe(self.service).answered
        told = self._book.told
        findings = {one["kind"]: one for one in told.get("findings") or [] if one["kind"] != "no-worker"}
        return told | {"findings": findings}


@pytest.fixture
def watch(database: Path, app: Flask, scene: Scene) -> Iterator[Watch]:
    with app.app_context():
        with write() as session:
            registry.add(session, id=SERVICE, name="Mail", kind="rq", url=scene.valkey.url)
        made = Watch(scene)
        yield made
        made.service.source.close()


@pytest.mark.long
def test_of_120_000_waiting_jobs_two_removed_ones_are_named_and_an_emptied_server_is_a_loss(
    app: Flask, scene: Scene, watch: Watch
) -> None:
    enqueue_jobs(scene.valkey.url, ["mail"], 60_000)
    enqueue_jobs(scene.valkey.url, ["reports"], 10)
    assert watch.check()["findings"] == {}

    enqueue_jobs(scene.valkey.url, ["mail"], 60_000)
    assert watch.check()["findings"] == {}

    removed = [remove(scene, queue) for queue in ("mail", "reports")]
    told = watch.check()
    assert told["counts"]["queued"] == 120_008
    assert told["countsOnlyQueues"] == ["mail"], "its list is longer than Beacon reads, and the page says so"
    assert ids(told) == {"missing": [removed[1]]}, "the other queue is still compared job by job"

    scene.redis.ltrim("rq:queue:mail", 0, BOUND - 1_000)
    assert removed[0] in ids(watch.check())["missing"], "what was known before stays known"

    scene.redis.flushall()
    told = watch.check()
    assert told["status"] == "discrepancy"
    assert told["findings"]["lost"]["count"] >= 99_000
    [body] = bodies(app)
    assert "lost at once" in body


def remove(scene: Scene, queue: str) -> str:
    """Take a job out by hand, with all that RQ keeps of it."""
    [job_id] = scene.queue(queue).get_job_ids(5, 1)
    assert scene.redis.lrem(f"rq:queue:{queue}", 1, job_id) == 1
    assert scene.redis.delete(f"rq:job:{job_id}") == 1
    return job_id


def ids(told: dict[str, Any]) -> dict[str, list[str]]:
    return {kind: one["jobIds"] for kind, one in told["findings"].items()}

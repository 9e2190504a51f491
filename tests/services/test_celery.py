"""A real Celery over a real Valkey, broken from outside: what Beacon says, when, and that it writes nothing."""

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from flask import Flask

from app.config import Settings
from app.sources.celery import celery_source
from app.sources.protocol import UnservedQueue
from app.sources.redis.client import RedisServer
from tests.services.celery_scene import (
    ANSWER_S,
    INSPECT_EVERY_S,
    Fleet,
    Watching,
    Worker,
    application,
    hurry,
    source_of,
    watching,
)
from tests.services.valkey import Valkey
from tests.support.machine import scaled
from tests.support.waiting import wait_for

# Of a broker that has stopped answering; `tests/services/test_rq.py` holds the 5 s that they wait outside the tests.
SILENT_S = 1.0


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with Valkey() as made:
        yield made


@pytest.fixture
def fleet(valkey: Valkey) -> Iterator[Fleet]:
    made = Fleet(valkey)
    yield made
    made.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """On SQLite: nothing here is about the database."""
    return Settings(instance_dir=tmp_path / "instance", secret_key="for the tests only")


@pytest.fixture
def celery_app(settings: Settings, database: Path) -> Iterator[Flask]:
    with application(settings) as made:
        yield made


@pytest.fixture(scope="class")
def held() -> Iterator[tuple[Fleet, str]]:
    """A worker that took a task and is busy with it, and the task."""
    with Valkey() as valkey:
        fleet = Fleet(valkey)
        try:
            task_id = fleet.send("late_nap", 300)
            fleet.worker(pool="solo")
            wait_for(lambda: fleet.redis.hlen("unacked") == 1, "the task to be taken", 20)
            yield fleet, task_id
        finally:
            fleet.close()


@pytest.fixture
def beside(celery_app: Flask, held: tuple[Fleet, str]) -> Iterator[Watching]:
    """A Beacon that knows the task; its worker is too busy to say anything."""
    fleet, task_id = held
    with watching(celery_app, fleet.valkey, result_backend=True, expect_workers=False) as made:
        made.until_known({task_id: "reserved"})
        yield made


@pytest.fixture
def beacon(celery_app: Flask, valkey: Valkey) -> Iterator[Watching]:
    with watching(celery_app, valkey, result_backend=True) as made:
        yield made


class TestLoss:
    def test_a_message_lost_from_its_queue_is_missing_until_it_is_back(self, fleet: Fleet, beacon: Watching) -> None:
        ids = [fleet.send("add", n, n) for n in range(3)] + [fleet.send("add", 9, 9, priority=6)]
        beacon.until_known(dict.fromkeys(ids, "queued"))
        beacon.until({})
        raw = fleet.message(ids[1])
        fleet.redis.lrem("celery", 1, raw)
        beacon.until({"missing": [ids[1]]})
        assert beacon.book.told["discrepancyDetails"]["missingJobIds"] == [ids[1]]
        fleet.redis.lpush("celery", raw)
        beacon.until({})

    def test_a_lost_message_of_another_priority_is_named_too(self, fleet: Fleet, beacon: Watching) -> None:
        lost = fleet.send("add", 1, 1, priority=6)
        kept = fleet.send("add", 1, 1)
        beacon.until_known({lost: "queued", kept: "queued"})
        fleet.redis.delete("celery\x06\x166")
        beacon.until({"missing": [lost]})

    def test_a_worker_killed_with_tasks_leaves_missing_and_orphaned_ones(self, fleet: Fleet, beacon: Watching) -> None:
        worker = fleet.worker()
        running = fleet.send("nap", 300)
        wait_for(lambda: beacon.book.known == {running: "running"}, "the task to run", 20)
        waiting = fleet.send("nap", 300)
        beacon.until_known({running: "running", waiting: "reserved"})
        beacon.next_look()
        raw, tag = fleet.redis.hget("unacked", fleet.tag(waiting)), fleet.tag(waiting)
        worker.kill()
        beacon.until({"missing": [running], "orphaned": [waiting]})
        assert beacon.workers == {worker.name: "dead"}
        message = json.loads(raw)[0]
        with fleet.redis.pipeline() as pipe:
            pipe.hdel("unacked", tag).zrem("unacked_index", tag).rpush("celery", json.dumps(message)).execute()
        fleet.redis.set(f"celery-task-meta-{running}", '{"status": "SUCCESS", "result": 300}')
        beacon.until({})

    def test_the_same_message_twice_is_a_duplicate(self, fleet: Fleet, beacon: Watching) -> None:
        twice, once = fleet.send("add", 1, 1), fleet.send("add", 1, 1)
        beacon.until_known({twice: "queued", once: "queued"})
        raw = fleet.message(twice)
        fleet.redis.lpush("celery", raw)
        beacon.until({"duplicate": [twice]})
        fleet.redis.lrem("celery", 1, raw)
        beacon.until({})

    def test_a_message_that_nobody_can_read_is_counted_by_its_place(self, fleet: Fleet, beacon: Watching) -> None:
        fleet.send("add", 1, 1)
        fleet.redis.lpush("celery", "no message at all")
        beacon.until({"unreadable": []})
        told = beacon.book.told
        assert (told["status"], told["counts"]["queued"]) == ("verified", 2)
        [found] = told["findings"]
        assert (found["count"], found["note"]) == (1, "entry 1 of celery: it is not a task's message")
        fleet.redis.lrem("celery", 1, "no message at all")
        beacon.until({})


class TestHeld:
    def test_a_message_deleted_from_unacked_is_dangling_until_it_is_back(
        self, held: tuple[Fleet, str], beside: Watching
    ) -> None:
        fleet, running = held
        tag = fleet.tag(running)
        raw = fleet.redis.hget("unacked", tag)
        fleet.redis.hdel("unacked", tag)
        beside.until({"dangling": [running]})
        fleet.redis.hset("unacked", tag, raw)
        beside.until({})

    def test_a_message_that_the_index_does_not_have_is_dangling(
        self, held: tuple[Fleet, str], beside: Watching
    ) -> None:
        fleet, running = held
        tag = fleet.tag(running)
        score = fleet.redis.zscore("unacked_index", tag)
        fleet.redis.zrem("unacked_index", tag)
        beside.until({"dangling": [running]})
        fleet.redis.zadd("unacked_index", {tag: score})
        beside.until({})


def handed_over(fleet: Fleet, worker: Worker) -> str:
    """A task whose message the server has handed to a worker that stands still.

    It does so only while the worker's question lasts, which is a second.
    """
    for _ in range(20):
        wait_for(lambda: any(client["cmd"] == "brpop" for client in fleet.redis.client_list()), "the worker to ask")
        worker.freeze()
        task = fleet.send("add", 1, 1)
        if fleet.redis.llen("celery") == 0:
            return task
        worker.thaw()
        wait_for(lambda task=task: fleet.redis.exists(f"celery-task-meta-{task}"), "the task to end", 20)
    raise AssertionError("no message was handed to a worker that stood still")


class TestSilence:
    def test_a_stopped_broker_is_stale_with_the_reason_and_recovers(
        self, fleet: Fleet, valkey: Valkey, beacon: Watching
    ) -> None:
        wait_for(lambda: beacon.book.told["status"] == "verified", "the first verdict")
        valkey.stop()
        wait_for(lambda: beacon.book.told["status"] == "stale", "the silence to be told", 20)
        assert "refused the connection" in beacon.book.told["reason"]
        valkey.start()
        wait_for(lambda: beacon.book.told["status"] == "verified", "the recovery", 30)

    def test_a_slow_broker_is_not_believed_to_be_empty(
        self, fleet: Fleet, valkey: Valkey, celery_app: Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(celery_source, "RedisServer", partial(RedisServer, answer_s=scaled(SILENT_S)))
        with watching(celery_app, valkey, result_backend=True) as beacon:
            kept = fleet.send("add", 1, 1)
            beacon.until_known({kept: "queued"})
            valkey.freeze()
            try:
                wait_for(lambda: beacon.book.told["status"] == "stale", "the silence to be told", 30)
                assert "did not answer within" in beacon.book.told["reason"]
                assert beacon.book.known == {kept: "queued"}
            finally:
                valkey.thaw()
            wait_for(lambda: beacon.book.told["status"] == "verified", "the recovery", 30)
            assert beacon.wrong() == {}

    def test_silent_workers_are_unknown_and_never_none_at_all(self, fleet: Fleet, valkey: Valkey) -> None:
        worker = fleet.worker()
        worker.freeze()
        source = source_of(valkey, result_backend=True)
        round_s = INSPECT_EVERY_S + ANSWER_S
        try:
            looks = []
            # Two rounds without an answer. That no look waits for one: `test_celery_healthy.py`, of a slow worker.
            silent_until = time.monotonic() + 2 * round_s
            while time.monotonic() < silent_until:
                looks.append(source.read_snapshot())
                time.sleep(0.05)
            assert {look.workers for look in looks} == {None}
            worker.thaw()
            [heard] = wait_for(lambda: source.read_snapshot().workers, "the worker to answer", 20)
            assert (heard.id, heard.state) == (worker.name, "idle")
            worker.freeze()
            silent_from = time.time()
            while time.time() < silent_from + 2 * round_s:
                [silent] = source.read_snapshot().workers or ()
                assert silent.id == worker.name, "it stands with its last answer"
                assert silent.seen_at is not None
                assert silent.seen_at.timestamp() < silent_from + ANSWER_S
                time.sleep(0.05)
        finally:
            worker.thaw()
            source.close()

    def test_no_workers_at_all_is_known_once_somebody_listened(self, valkey: Valkey) -> None:
        source = source_of(valkey)
        try:
            assert source.read_snapshot().workers is None
            wait_for(lambda: source.read_snapshot().workers == (), "nobody to be there", 20)
        finally:
            source.close()

    def test_a_queue_is_unserved_once_every_worker_has_named_its_own(self, fleet: Fleet, valkey: Valkey) -> None:
        for _ in range(2):
            fleet.send("add", 1, 1, queue="reports")
        waits = (UnservedQueue("reports", 2),)
        source = source_of(valkey, queues=("celery", "reports"))
        try:
            assert source.read_snapshot().unserved is None, "nobody was asked yet"
            wait_for(lambda: source.read_snapshot().unserved == waits, "nobody to be there", 20)
            one = fleet.worker("one", "-Q", "celery")
            wait_for(
                lambda: [worker.queues for worker in source.read_snapshot().workers or ()] == [("celery",)], "one", 20
            )
            assert source.read_snapshot().unserved == waits
            one.freeze()
            wait_for(lambda: source.read_snapshot().unserved is None, "the silence to be noticed", 20)
            one.thaw()
            wait_for(lambda: source.read_snapshot().unserved == waits, "one to answer again", 20)
            one.kill()
            fleet.worker("two", "-Q", "celery,reports")
            wait_for(lambda: source.read_snapshot().unserved == (), "two to be heard of", 20)
        finally:
            source.close()

    def test_what_a_frozen_worker_holds_is_not_missing(self, fleet: Fleet, beacon: Watching) -> None:
        worker = fleet.worker()
        popped = handed_over(fleet, worker)
        beacon.stays_right(6)
        worker.thaw()
        wait_for(lambda: fleet.redis.exists(f"celery-task-meta-{popped}"), "the task to end", 20)
        beacon.next_look()
        assert beacon.findings() == {}

    def test_a_worker_that_finishes_before_it_ends_loses_nothing(
        self, fleet: Fleet, beacon: Watching, tmp_path: Path
    ) -> None:
        may_end = tmp_path / "may end"
        worker = fleet.worker()
        running = fleet.send("wait_for_file", str(may_end))
        beacon.until_known({running: "running"})
        worker.terminate()
        wait_for(lambda: fleet.connected() == 0, "the worker to listen no more", 20)
        beacon.stays_right(5)  # one that was killed is told after two or three
        assert worker.process.poll() is None
        may_end.touch()

        def has_ended() -> bool:
            assert beacon.wrong() == {}
            return worker.process.poll() is not None

        wait_for(has_ended, "the worker to end", 30)
        beacon.stays_right(2)
        assert beacon.book.known == {}

"""A real Celery over a real Valkey, broken from outside: what Beacon says, when, and that it writes nothing."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from app.config import Settings
from app.sources.celery_pidbox import ANSWER_S
from app.sources.celery_watch import INSPECT_EVERY_S
from tests.services.celery_scene import Fleet, Watching, application, source_of, watching
from tests.services.valkey import Valkey
from tests.support.machine import scaled
from tests.support.waiting import wait_for


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

    def test_a_message_deleted_from_unacked_is_dangling_until_it_is_back(self, fleet: Fleet, beacon: Watching) -> None:
        fleet.worker(pool="solo")
        running = fleet.send("late_nap", 300)
        wait_for(lambda: running in beacon.book.known, "the task to be taken", 20)
        wait_for(lambda: fleet.redis.hlen("unacked") == 1, "the task to be taken", 20)
        beacon.next_look()
        tag = fleet.tag(running)
        raw = fleet.redis.hget("unacked", tag)
        fleet.redis.hdel("unacked", tag)
        beacon.until({"dangling": [running]})
        fleet.redis.hset("unacked", tag, raw)
        beacon.until({})

    def test_a_message_that_the_index_does_not_have_is_dangling(self, fleet: Fleet, beacon: Watching) -> None:
        fleet.worker(pool="solo")
        running = fleet.send("late_nap", 300)
        wait_for(lambda: fleet.redis.hlen("unacked") == 1, "the task to be taken", 20)
        tag = fleet.tag(running)
        score = fleet.redis.zscore("unacked_index", tag)
        fleet.redis.zrem("unacked_index", tag)
        beacon.until({"dangling": [running]})
        fleet.redis.zadd("unacked_index", {tag: score})
        beacon.until({})

    def test_the_same_message_twice_is_a_duplicate(self, fleet: Fleet, beacon: Watching) -> None:
        twice, once = fleet.send("add", 1, 1), fleet.send("add", 1, 1)
        beacon.until_known({twice: "queued", once: "queued"})
        raw = fleet.message(twice)
        fleet.redis.lpush("celery", raw)
        beacon.until({"duplicate": [twice]})
        fleet.redis.lrem("celery", 1, raw)
        beacon.until({})

    def test_a_count_that_the_list_does_not_bear_out_is_said(self, fleet: Fleet, beacon: Watching) -> None:
        fleet.send("add", 1, 1)
        fleet.redis.lpush("celery", "no message at all")
        beacon.until({"count-mismatch": []})
        assert "queued: 2 counted, 1 listed" in beacon.book.told["reason"]
        fleet.redis.lrem("celery", 1, "no message at all")
        beacon.until({})


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

    def test_a_slow_broker_is_not_believed_to_be_empty(self, fleet: Fleet, valkey: Valkey, beacon: Watching) -> None:
        kept = fleet.send("add", 1, 1)
        beacon.until_known({kept: "queued"})
        valkey.freeze()
        try:
            wait_for(lambda: beacon.book.told["status"] == "stale", "the silence to be told", 30)
            assert beacon.book.known == {kept: "queued"}
        finally:
            valkey.thaw()
        wait_for(lambda: beacon.book.told["status"] == "verified", "the recovery", 30)
        assert beacon.wrong() == {}

    def test_silent_workers_are_unknown_and_never_none_at_all(self, fleet: Fleet, valkey: Valkey) -> None:
        worker = fleet.worker()
        worker.freeze()
        source = source_of(valkey, result_backend=True)
        try:
            looks = []
            deadline = time.monotonic() + scaled(6)
            while time.monotonic() < deadline:
                looks.append(source.look())
                time.sleep(0.2)
            assert {look.workers for look in looks} == {None}
            assert len(looks) > 6 / ANSWER_S, "no look waits for answers"
            worker.thaw()
            [heard] = wait_for(lambda: source.look().workers, "the worker to answer", 20)
            assert (heard.id, heard.state) == (worker.name, "idle")
            worker.freeze()
            silent_from = time.time()
            while time.time() < silent_from + 2 * (INSPECT_EVERY_S + ANSWER_S):  # two rounds without an answer
                [silent] = source.look().workers or ()
                assert silent.id == worker.name, "it stands with its last answer"
                assert silent.seen_at is not None
                assert silent.seen_at.timestamp() < silent_from + 1
                time.sleep(0.2)
        finally:
            worker.thaw()
            source.close()

    def test_no_workers_at_all_is_known_once_somebody_listened(self, valkey: Valkey) -> None:
        source = source_of(valkey)
        try:
            assert source.look().workers is None
            wait_for(lambda: source.look().workers == (), "nobody to be there", 20)
        finally:
            source.close()

    def test_what_a_frozen_worker_holds_is_not_missing(self, fleet: Fleet, beacon: Watching) -> None:
        worker = fleet.worker()
        worker.freeze()
        popped = fleet.send("add", 1, 1)
        wait_for(lambda: fleet.redis.llen("celery") == 0, "the message to be on its way to the worker")
        for _ in range(4):
            beacon.next_look()
            assert beacon.wrong() == {}
        worker.thaw()
        wait_for(lambda: fleet.redis.exists(f"celery-task-meta-{popped}"), "the task to end", 20)
        beacon.next_look()
        assert beacon.findings() == {}

    def test_a_worker_that_finishes_before_it_ends_loses_nothing(self, fleet: Fleet, beacon: Watching) -> None:
        worker = fleet.worker()
        running = fleet.send("nap", 6)
        beacon.until_known({running: "running"})
        worker.terminate()
        deadline = time.monotonic() + scaled(30)
        while worker.process.poll() is None:
            assert beacon.wrong() == {}
            assert time.monotonic() < deadline
            time.sleep(0.1)
        beacon.next_look()
        beacon.next_look()
        assert (beacon.wrong(), beacon.book.known) == ({}, {})

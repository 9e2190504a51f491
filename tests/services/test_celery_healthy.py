"""A healthy Celery that is busy: not one false word about it, and not one write into it."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from uuid import uuid4

import pytest
from celery import Celery
from celery.app.task import Context
from flask import Flask

from app.config import Settings
from app.sources.celery.remote_control import ANSWER_S
from app.sources.protocol import JobFilter, SourceError
from tests.services.celery_scene import Fleet, Watching, application, hurry, source_of, watching
from tests.services.celery_traffic import Traffic, all_ended
from tests.services.valkey import Valkey
from tests.support.machine import scaled
from tests.support.waiting import wait_for

READS = {"MULTI", "EXEC", "INFO", "TIME", "LLEN", "HLEN", "LRANGE", "HGETALL", "ZRANGE", "GETRANGE", "SCAN", "EXISTS"}
CONNECTS = {"CLIENT", "SELECT", "HELLO", "AUTH"}
# Of the questions to workers: no task queue is under any of these, and `beacon.…` is Beacon's own list.
ASKS = {"PUBLISH", "PSUBSCRIBE", "BRPOP", "DEL"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """On SQLite: nothing here is about the database."""
    return Settings(instance_dir=tmp_path / "instance", secret_key="for the tests only")


@pytest.fixture
def celery_app(settings: Settings, database: Path) -> Iterator[Flask]:
    with application(settings) as made:
        yield made


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with Valkey() as made:
        yield made


def keep_busy(fleet: Fleet, beacon: Watching, polls: int, most_s: float) -> list[str]:
    """Until Beacon has looked so often."""
    deadline = time.monotonic() + scaled(most_s)

    def has_looked() -> bool:
        assert time.monotonic() < deadline
        return beacon.looks >= polls

    traffic = Traffic(fleet)
    traffic.keep_up(has_looked)
    return traffic.ids


def run_healthy(celery_app: Flask, valkey: Valkey, polls: int, most_s: float, interval_s: float) -> None:
    fleet = Fleet(valkey)
    try:
        fleet.start("one", concurrency=2)
        fleet.worker("two", pool="solo")
        wait_for(lambda: fleet.connected() == 2, "both workers to listen", 60)
        with watching(celery_app, valkey, interval_s, result_backend=True) as beacon:
            ids = keep_busy(fleet, beacon, polls, most_s)
            wait_for(lambda: all_ended(fleet, ids), "all tasks to end", 120)
            wait_for(lambda: beacon.book.known == {}, "Beacon to know that nothing is left", 30)
            wrong = [event for event in beacon.book.events() if event["status"] == "discrepancy"]
            assert wrong == []
            assert (beacon.book.items, beacon.book.closed) == ({}, {})
            print(f"{len(ids)} tasks, {beacon.looks} polls, slowest observation {max(beacon.took_s):.2f} s")  # noqa: T201
    finally:
        fleet.close()


def test_a_busy_healthy_celery_has_no_discrepancy(celery_app: Flask, valkey: Valkey) -> None:
    run_healthy(celery_app, valkey, polls=12, most_s=120, interval_s=0.25)


@pytest.mark.long
def test_half_an_hour_of_polls_of_a_busy_healthy_celery_has_no_discrepancy(celery_app: Flask, valkey: Valkey) -> None:
    run_healthy(celery_app, valkey, polls=360, most_s=1_200, interval_s=0.25)


def test_without_a_result_backend_what_vanished_is_unaccounted_and_nothing_is_wrong(
    celery_app: Flask, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    fleet = Fleet(valkey, backend=False)
    try:
        with watching(celery_app, valkey) as beacon:
            lost, kept = fleet.send("add", 1, 1), fleet.send("add", 1, 1)
            beacon.until_known({lost: "queued", kept: "queued"})
            fleet.redis.lrem("celery", 1, fleet.message(lost))
            wait_for(lambda: beacon.findings() == {"unaccounted": [lost]}, "the lost task to be unaccounted", 10)
            assert beacon.book.told["status"] == "verified"
    finally:
        fleet.close()


@pytest.mark.parametrize("inspect", [True, False])
def test_beacon_writes_nothing_but_its_questions_to_workers(celery_app: Flask, valkey: Valkey, inspect: bool) -> None:
    fleet = Fleet(valkey)
    try:
        fleet.worker(concurrency=1)
        with (
            valkey.monitored() as heard,
            watching(celery_app, valkey, 0.1, result_backend=True, inspect=inspect) as beacon,
        ):
            fleet.send("add", 1, 1)
            fleet.send("nap", 1)
            for _ in range(5):
                beacon.next_look()
        commands = set(heard.of("beacon"))
        assert READS - {"GETRANGE"} <= commands
        assert commands <= READS | CONNECTS | (ASKS if inspect else set())
        assert fleet.redis.keys("beacon.*") == []
    finally:
        fleet.close()


def test_a_slow_worker_delays_no_look_and_its_late_answers_are_taken_away(celery_app: Flask, valkey: Valkey) -> None:
    fleet = Fleet(valkey)
    try:
        worker = fleet.worker(pool="solo")
        worker.freeze()
        with watching(celery_app, valkey, 0.15, result_backend=True, inspect=True, expect_workers=False) as beacon:
            for _ in range(6):  # longer than a round of questions
                beacon.next_look()
            assert beacon.workers is None
            assert median(beacon.took_s) < scaled(ANSWER_S / 2), "no look waits for answers"
            worker.thaw()
            wait_for(lambda: beacon.workers == {worker.name: "idle"}, "the worker to answer", 20)
        assert fleet.redis.keys("beacon.*") == []
    finally:
        fleet.close()


def test_details_tell_no_argument_and_the_error(valkey: Valkey) -> None:
    fleet = Fleet(valkey)
    source = source_of(valkey, result_backend=True, inspect=False)
    try:
        waiting = fleet.send("add", 4711, 4712)
        told = source.detail(waiting)
        assert told is not None
        assert (told.job.state, told.job.queue) == ("queued", "celery")
        assert told.description == "tests.services.celery_tasks.add"
        assert "4711" not in repr(told)
        failed = fleet.send("fail")
        fleet.worker(pool="solo")
        wait_for(lambda: all_ended(fleet, [failed, waiting]), "the tasks to end", 20)
        told = source.detail(failed)
        assert told is not None
        assert (told.job.state, str(told.error)) == ("failed", "ValueError: no such customer")
        assert told.ended_at is not None
        assert source.detail("never-there") is None
    finally:
        source.close()
        fleet.close()


def test_a_task_taken_for_longer_than_celery_waits_is_stuck_unless_it_is_for_later(valkey: Valkey) -> None:
    fleet = Fleet(valkey)
    source = source_of(valkey, result_backend=True, inspect=False, visibility_timeout_s=0.5)
    try:
        fleet.worker(concurrency=1)
        stuck, later = fleet.send("late_nap", 300), fleet.send("add", 1, 1, countdown=300)
        wait_for(lambda: fleet.redis.hlen("unacked") == 2, "both to be taken", 20)
        [found] = wait_for(lambda: source.stuck(), "one to be stuck", 10)
        assert found.job.id == stuck != later
    finally:
        source.close()
        fleet.close()


def test_beyond_the_bound_there_are_counts_only(valkey: Valkey) -> None:
    fleet = Fleet(valkey)
    source = source_of(valkey, bound=10, result_backend=True, inspect=False)
    try:
        fleet.send_many("add", 11, 1, 1)
        look = source.read_snapshot()
        assert look.counts["queued"] == 11
        assert [part.complete for part in look.listings if part.state == "queued"] == [False]
        assert source.stuck() == []
        with fleet.redis.pipeline() as pipe:
            for raw in fleet.queued():
                pipe.hset("unacked", str(uuid4()), json.dumps([json.loads(raw), "", "celery"]))
            pipe.delete("celery").execute()
        assert source.read_snapshot().counts == {"queued": 0, "scheduled": 0, "reserved": 11, "running": 0, "failed": 0}
        with pytest.raises(SourceError, match="more tasks than Beacon lists"):
            source.stuck()
    finally:
        source.close()
        fleet.close()


def test_a_full_queue_hides_none_of_the_others(valkey: Valkey) -> None:
    fleet = Fleet(valkey)
    source = source_of(valkey, bound=10, queues=("celery", "small"), inspect=False)
    try:
        small = fleet.send("add", 1, 1, queue="small")
        known = fleet.send_many("add", 3, 1, 1)
        source.read_snapshot()
        fleet.send_many("add", 11, 1, 1)
        look = source.read_snapshot()
        (queued,) = (part for part in look.listings if part.state == "queued")
        assert (list(queued.jobs), queued.cut, look.counts["queued"]) == ([small], frozenset({"celery"}), 15)
        fleet.redis.delete("celery")
        assert source.read_snapshot().counts["queued"] == 1
        assert source.look_up(known[0]).kind == "cannot-tell"
        assert look.queues == 2
        fleet.redis.flushall()
        assert source.read_snapshot().queues == 0
    finally:
        source.close()
        fleet.close()


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # Celery's own
@pytest.mark.parametrize("extended", [False, True], ids=["result", "result_extended"])
def test_failures_are_counted_from_the_results_that_celery_wrote(valkey: Valkey, extended: bool) -> None:
    app = Celery("writer", broker=valkey.url, backend=valkey.url, set_as_current=False)
    app.conf.result_extended = extended
    fleet = Fleet(valkey)
    source = source_of(valkey, result_backend=True, inspect=False)
    try:
        for n in range(340):
            request = Context(id=f"f{n}", task="mail.send", args=["no"], retries=3)
            app.backend.store_result(f"f{n}", ValueError("no"), "FAILURE", traceback="Traceback", request=request)
        app.backend.store_result("done", 7, "SUCCESS")
        fleet.send("add", 1, 1)
        look = source.read_snapshot()
        assert (look.counts["failed"], look.counts["queued"], look.not_told) == (340, 1, {})
        assert source.look_up("f7").end_state == "failed"
        with pytest.raises(SourceError, match="keeps no list of ended tasks, so failed tasks cannot be"):
            source.select(JobFilter("failed"), 10)
    finally:
        source.close()
        fleet.close()
        app.backend.client.connection_pool.disconnect()
        app.close()


def test_without_a_result_backend_failures_are_unknown_and_not_zero(valkey: Valkey) -> None:
    source = source_of(valkey, inspect=False)
    try:
        look = source.read_snapshot()
        assert "failed" not in look.counts
        assert look.not_told == {"failed": "without a result backend Celery keeps no record of failed tasks"}
    finally:
        source.close()


def test_a_task_for_later_is_scheduled_in_a_workers_hands_until_it_runs(celery_app: Flask, valkey: Valkey) -> None:
    """From its queue over a real worker that holds it to its end, without one wrong word."""
    fleet = Fleet(valkey)
    try:
        fleet.worker()
        with watching(celery_app, valkey, result_backend=True) as beacon:
            later = fleet.send("add", 1, 1, countdown=3_600)
            soon = fleet.send("add", 1, 1, countdown=3)
            beacon.until_known({later: "scheduled", soon: "scheduled"})
            last = beacon.source.last
            assert last is not None
            assert (last.counts["scheduled"], last.counts["reserved"]) == (2, 0)
            assert beacon.source.stuck() == []
            beacon.until_known({later: "scheduled"})
            beacon.stays_right(2)
    finally:
        fleet.close()


def test_a_task_whose_time_is_long_over_and_that_nobody_runs_is_stuck(valkey: Valkey) -> None:
    fleet = Fleet(valkey)
    source = source_of(valkey)
    try:
        fleet.worker()
        held = fleet.send("add", 1, 1, countdown=3_600)
        wait_for(lambda: fleet.redis.hlen("unacked") == 1, "the worker to take it", 20)
        [(tag, raw)] = fleet.redis.hgetall("unacked").items()
        entry = json.loads(raw)
        entry[0]["headers"]["eta"] = "2025-01-01T00:00:00+00:00"
        fleet.redis.hset("unacked", tag, json.dumps(entry))  # as if an hour had passed, with a worker that forgot it
        running = fleet.send("late_nap", 300, eta=datetime(2025, 1, 1, tzinfo=UTC))
        wait_for(lambda: fleet.redis.hlen("unacked") == 2, "the worker to run the other one", 20)
        source.read_snapshot()
        wait_for(lambda: [one.job.id for one in source.stuck()] == [held], f"{held}, not {running}, to be stuck", 20)
        assert source.read_snapshot().counts["reserved"] == 1

        def late() -> list[tuple[tuple[str, ...], str]]:
            return [(one.job_ids, one.note) for one in source.read_snapshot().anomalies if one.kind == "overdue"]

        said = "the oldest was due at 2025-01-01 00:00:00 UTC; every worker is busy"
        wait_for(lambda: late() == [((held,), said)], f"{held}, not {running}, to be overdue", 20)
    finally:
        source.close()
        fleet.close()

"""RQ as a source: what one look says of a real queue, its registries and its real workers."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rq import Queue
from rq.job import Job as RqJob
from rq.suspension import resume, suspend

from app.sources.protocol import Anomaly, Job, JobFilter, JobLookup, LeftOut, SourceError, UnservedQueue
from app.sources.rq import KIND, rq_snapshot
from app.sources.rq.anomalies import CONFIRM_AFTER_S
from app.sources.rq.rq_source import RqSource
from app.sources.rq.rq_workers import SUSPENDED
from tests.services.rq_scene import Scene, anomalies, ids
from tests.support.beacon_server import ROOT
from tests.support.machine import scaled
from tests.support.waiting import wait_for

# Whatever Beacon may send. Everything else could change something.
READS = {
    *("MULTI", "EXEC", "TIME", "EXISTS", "SMEMBERS", "LLEN", "ZCARD", "ZCOUNT", "LRANGE", "ZRANGE", "HMGET"),
    *("LPOS", "ZSCORE", "XREVRANGE", "HGET", "HSTRLEN", "SRANDMEMBER", "CLIENT", "SELECT", "INFO", "PTTL"),
}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Scene() as made:
        yield made


@pytest.fixture
def queue(scene: Scene) -> Queue:
    return scene.queue()


@pytest.fixture
def source(scene: Scene) -> Iterator[RqSource]:
    made = scene.source()
    yield made
    made.close()


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def put(queue: Queue, *job_ids: str) -> None:
    for job_id in job_ids:
        queue.enqueue("time.sleep", 0, job_id=job_id)


class TestLook:
    def test_an_empty_server_has_no_jobs_and_no_workers(self, source: RqSource) -> None:
        look = source.read_snapshot()
        assert set(look.counts.values()) == {0}
        assert (look.workers, look.health, look.anomalies) == ((), "no workers", ())

    def test_every_registry_is_heard(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        queue.enqueue("time.sleep", 0, job_id="done")
        queue.enqueue("int", "x", job_id="broken")
        scene.work("mail")
        put(queue, "waiting", "dropped")
        queue.fetch_job("dropped").cancel()  # type: ignore[union-attr]
        queue.enqueue("time.sleep", 0, job_id="behind", depends_on="waiting")
        queue.enqueue_in(_an_hour(), "time.sleep", 0, job_id="later")
        look = source.read_snapshot()
        found = {state: ids(look, state) for state in look.counts if look.counts[state]}
        assert found == {
            "scheduled": ["later"],
            "deferred": ["behind"],
            "queued": ["waiting"],
            "finished": ["done"],
            "failed": ["broken"],
            "canceled": ["dropped"],
        }
        assert look.one_revision
        assert anomalies(look) == {}

    def test_a_worker_and_its_job_are_told(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        queue.enqueue("time.sleep", 600, job_id="long")
        scene.worker("mail", name="anna")
        scene.wait_until_started("long")
        look = source.read_snapshot()
        assert ids(look, "started") == ["long"]
        assert look.workers is not None
        (worker,) = look.workers
        assert (worker.id, worker.state, worker.queues, worker.job_id) == ("anna", "busy", ("mail",), "long")
        assert worker.seen_at is not None
        assert look.health == "1 worker"

    def test_a_queue_is_unserved_until_a_worker_takes_from_it(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        queue.enqueue("time.sleep", 600, job_id="long")
        put(queue, "a", "b")
        put(scene.queue("pictures"), "c")
        assert source.read_snapshot().unserved == (UnservedQueue("mail", 3), UnservedQueue("pictures", 1))
        scene.work("pictures", name="burst")  # it has ended
        put(scene.queue("pictures"), "d")
        scene.worker("mail", name="anna")
        scene.wait_until_started("long")
        assert source.read_snapshot().unserved == (UnservedQueue("pictures", 1),), "what is busy serves"
        suspend(scene.redis)
        assert source.read_snapshot().unserved == (UnservedQueue("mail", 2, SUSPENDED), UnservedQueue("pictures", 1))
        resume(scene.redis)
        assert source.read_snapshot().unserved == (UnservedQueue("pictures", 1),)

    def test_only_the_named_queues_are_watched(self, scene: Scene, source: RqSource) -> None:
        put(scene.queue("mail"), "a")
        put(scene.queue("pictures"), "b")
        assert ids(source.read_snapshot(), "queued") == ["a", "b"]
        assert ids(scene.source(queues=("pictures",)).read_snapshot(), "queued") == ["b"]

    def test_a_taken_job_counts_as_queued_until_it_is_started(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "a", "b")
        scene.redis.lmove("rq:queue:mail", "rq:queue:mail:intermediate", "LEFT", "RIGHT")
        assert (ids(source.read_snapshot(), "queued"), source.read_snapshot().counts["queued"]) == (["a", "b"], 2)
        scene.redis.zadd("rq:wip:mail", {"a:1": time.time() + 60})
        look = source.read_snapshot()
        assert (ids(look, "queued"), ids(look, "started"), anomalies(look)) == (["b"], ["a"], {})
        assert (look.counts["queued"], look.counts["started"]) == (1, 1)

    def test_two_executions_of_a_job_are_one_job(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        put(queue, "a")
        scene.redis.delete("rq:queue:mail")
        scene.redis.zadd("rq:wip:mail", {"a:1": time.time() + 60, "a:2": time.time() + 60})
        look = source.read_snapshot()
        assert (ids(look, "started"), look.counts["started"], anomalies(look)) == (["a"], 1, {})

    def test_a_job_that_is_enqueued_again_under_its_id_is_no_duplicate(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "nightly")
        scene.work("mail")
        put(queue, "nightly")
        look = source.read_snapshot()
        assert (ids(look, "queued"), ids(look, "finished"), look.counts["finished"]) == (["nightly"], [], 0)
        assert anomalies(look) == {}

    def test_beyond_the_bound_there_are_counts_only(self, scene: Scene, queue: Queue) -> None:
        put(queue, "a", "b", "c")
        (queued,) = (one for one in scene.source(bound=2).read_snapshot().listings if one.state == "queued")
        assert (queued.complete, queued.jobs) == (False, {})
        assert scene.source(bound=2).read_snapshot().counts["queued"] == 3
        assert len(ids(scene.source(bound=3).read_snapshot(), "queued")) == 3

    def test_a_full_queue_hides_none_of_the_others(self, scene: Scene, queue: Queue) -> None:
        queue.enqueue("time.sleep", 0, job_id="done")
        scene.work("mail")
        put(queue, *(f"b{n}" for n in range(9)))
        put(scene.queue("small"), "s1", "s2")
        put(scene.queue("smaller"), "t1")
        queue.enqueue_in(_an_hour(), "time.sleep", 0, job_id="later")
        source = scene.source(bound=5)
        look = source.read_snapshot()
        assert (ids(look, "queued"), ids(look, "scheduled")) == (["s1", "s2", "t1"], ["later"])
        assert ids(look, "finished") == ["done"]
        assert [one.state for one in look.listings if not one.complete] == ["queued"]
        (queued,) = (one for one in look.listings if one.state == "queued")
        assert (queued.complete, queued.cut, look.counts["queued"]) == (False, frozenset({"mail"}), 12)
        assert source.select(JobFilter("queued", "small"), 10).job_ids == ("s1", "s2")
        assert source.select(JobFilter("queued", "mail"), 10).total == 9

    def test_how_many_queues_there_are_and_which_run_of_the_server_answers(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "a")
        look = source.read_snapshot()
        assert (look.queues, look.instance_id) == (1, scene.redis.info("server")["run_id"])
        scene.redis.flushall()
        assert source.read_snapshot().queues == 0

    def test_results_that_expired_are_not_missed_before_rq_cleans_up(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        queue.enqueue("time.sleep", 0, job_id="short", result_ttl=1)
        scene.work("mail")
        wait_for(lambda: not scene.redis.exists("rq:job:short"), "the result to expire")
        assert scene.redis.zcard("rq:finished:mail") == 1
        assert anomalies(source.read_snapshot()) == {}

    def test_a_job_says_itself_for_how_long_it_can_be_seen(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        queue.enqueue("time.sleep", 0, job_id="gone-at-once", result_ttl=0)
        queue.enqueue("time.sleep", 0, job_id="ten-seconds", result_ttl=10, failure_ttl=60)
        queue.enqueue("time.sleep", 0, job_id="for-ever", result_ttl=-1)
        queue.enqueue("time.sleep", 0, job_id="may-run-late", ttl=3_600)
        put(queue, "usual")
        scene.redis.lpush("rq:queue:mail", "without-a-job")
        (queued,) = (one for one in source.read_snapshot().listings if one.state == "queued")
        assert {job.id: job.kept_s for job in queued.jobs.values()} == {
            "gone-at-once": 0.0,
            "ten-seconds": 10.0,
            "for-ever": None,
            "may-run-late": 0.0,
            "usual": None,
            "without-a-job": 0.0,
        }

    def test_each_job_is_asked_once_and_nothing_follows_of_those_whose_turn_has_not_come(
        self, scene: Scene, queue: Queue, source: RqSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.sources.rq.job_ttl.MAX_JOBS_READ", 2)
        put(queue, "a", "b", "c")

        def lifetimes() -> dict[str, float | None]:
            return {i: j.kept_s for one in source.read_snapshot().listings for i, j in one.jobs.items()}

        with scene.valkey.monitored() as heard:
            assert lifetimes() == {"a": None, "b": None, "c": 0.0}
            assert lifetimes() == lifetimes() == {"a": None, "b": None, "c": None}
        assert heard.of("beacon")["HMGET"] == 3

    def test_other_data_under_a_key_of_rq_is_named(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        put(queue, "a")
        scene.redis.set("rq:failed:mail", "mine")
        with pytest.raises(SourceError, match=r"^has data under rq:failed:mail that is not RQ's$"):
            source.read_snapshot()

    def test_an_odd_id_is_left_out_and_counted_and_all_others_are_heard(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "a", "x" * 300, "x" * 1_001)
        scene.redis.rpush("rq:queue:mail", b"\x00", b"\xff")
        scene.redis.zadd("rq:wip:mail", {b"odd\n:1": time.time() + 60})
        look = source.read_snapshot()
        queued, started = (one for one in look.listings if one.state in ("queued", "started"))
        assert (sorted(queued.jobs), look.counts["queued"]) == (["a", "x" * 300], 5)
        assert queued.left_out == LeftOut(3, "entry 3 of rq:queue:mail: its id has more than 1,000 characters")
        assert (len(started.jobs), look.counts["started"]) == (0, 1)
        assert started.left_out == LeftOut(1, "entry 1 of rq:wip:mail: its id has a control character")

    def test_an_odd_name_of_a_queue_or_worker_costs_no_other(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "a")
        scene.redis.sadd("rq:queues", b"rq:queue:\xff", b"rq:queue:a\0b")
        scene.redis.sadd("rq:workers", b"rq:worker:\xff", b"rq:worker:anna")
        scene.redis.hset("rq:worker:anna", mapping={"birth": b"\xff", "queues": b"mail,\xff"})
        scene.redis.zadd("rq:wip:mail", {b"run:\xff": time.time() + 60, b"odd:1": time.time() + 60})
        scene.redis.hset("rq:execution:odd:1", mapping={"worker_name": b"\xff", "created_at": b"yesterday"})
        look = source.read_snapshot()
        assert ids(look, "queued") == ["a"]
        assert look.left_out == LeftOut(3, "rq:queue:a\ufffdb of rq:queues: its name has a control character")
        assert [(worker.id, worker.queues) for worker in look.workers or ()] == [("anna", ("mail", "\ufffd"))]
        assert "orphaned" not in anomalies(look)


class TestOverdue:
    """Scheduled jobs whose time has come and gone."""

    @pytest.fixture
    def due(self, scene: Scene, queue: Queue) -> float:
        """Of "late", two minutes ago; "soon" is late by a few seconds, which a scheduler may be."""
        at = time.time() - 120
        for job_id in ("late", "soon", "later"):
            queue.enqueue_in(_an_hour(), "time.sleep", 0, job_id=job_id)
        scene.redis.zadd("rq:scheduled:mail", {"late": at, "soon": time.time() - 5})
        return at

    def test_they_are_found_with_the_oldest_and_why_nobody_queues_them(self, source: RqSource, due: float) -> None:
        look = source.read_snapshot()
        assert anomalies(look) == {"overdue": ["late"]}
        (found,) = look.anomalies
        assert found.note == f"the oldest was due at {_clock(due)} UTC; no scheduler serves mail"
        assert look.counts["scheduled"] == 3

    def test_a_queue_with_a_scheduler_is_not_said_to_have_none(
        self, scene: Scene, source: RqSource, due: float
    ) -> None:
        scene.redis.set("rq:scheduler-lock:mail", "anna")
        (found,) = source.read_snapshot().anomalies
        assert found.note == f"the oldest was due at {_clock(due)} UTC"

    def test_they_are_among_the_stuck_ones(self, source: RqSource, due: float) -> None:
        (stuck,) = source.stuck()
        assert (stuck.job, stuck.reason) == (
            Job("late", "scheduled", "mail"),
            "it is overdue and no scheduler serves its queue",
        )
        assert stuck.since is not None
        assert stuck.since.timestamp() == pytest.approx(due)

    def test_all_are_counted_and_each_has_its_own_time(
        self, scene: Scene, source: RqSource, monkeypatch: pytest.MonkeyPatch, due: float
    ) -> None:
        monkeypatch.setattr(rq_snapshot, "MAX_OVERDUE", 3)
        scene.redis.zadd("rq:scheduled:mail", {b"\xff": due + 1, **{f"late{n}": due + 10 + n for n in range(5)}})
        (found,) = (one for one in source.read_snapshot().anomalies if one.kind == "overdue")
        assert (found.job_ids, found.number) == (("late", "late0"), 7)
        assert [(one.job.id, round((one.since.timestamp() if one.since else 0) - due)) for one in source.stuck()] == [
            ("late", 0),
            ("late0", 10),
        ]

    def test_they_are_found_where_there_are_too_many_scheduled_jobs_to_list(self, scene: Scene, due: float) -> None:
        look = scene.source(bound=1).read_snapshot()
        assert anomalies(look) == {"overdue": ["late"]}


class TestOddities:
    def test_ids_whose_job_is_gone_are_found_among_thousands(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        pipe = scene.redis.pipeline()
        made = [f"job{n:04}" for n in range(3_000)]
        for job_id in made:
            pipe.hset(RqJob.key_for(job_id), "status", "queued")
        pipe.rpush("rq:queue:mail", *made)
        pipe.sadd("rq:queues", "rq:queue:mail")
        pipe.execute()
        lost = [made[0], made[777], made[778], made[2_999]]
        scene.redis.delete(*map(RqJob.key_for, lost))
        assert anomalies(source.read_snapshot()) == {"dangling": lost}

    @pytest.mark.parametrize("state", ["scheduled", "deferred", "failed", "finished"])
    def test_a_registry_is_checked_too(self, scene: Scene, source: RqSource, state: str) -> None:
        scene.redis.sadd("rq:queues", "rq:queue:mail")
        scene.redis.zadd(f"rq:{state}:mail", {"lost": time.time() + 3_600, "kept": -1})
        scene.redis.hset(RqJob.key_for("kept"), "status", state)
        assert anomalies(source.read_snapshot()) == {"dangling": ["lost"]}

    def test_an_id_in_two_queues_is_a_duplicate(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        put(queue, "a")
        scene.queue("other").push_job_id("a")
        scene.redis.sadd("rq:queues", "rq:queue:other")
        look = source.read_snapshot()
        assert (anomalies(look), look.counts["queued"]) == ({"duplicate": ["a"]}, 1)

    def test_an_id_twice_in_a_queue_is_a_duplicate_that_the_counts_show(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "a", "b")
        queue.push_job_id("a")
        look = source.read_snapshot()
        assert (anomalies(look), look.counts["queued"], ids(look, "queued")) == ({"duplicate": ["a"]}, 3, ["a", "b"])

    def test_what_was_told_once_is_told_without_a_second_look(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "a")
        scene.redis.delete(RqJob.key_for("a"))
        assert source.read_snapshot().anomalies == source.read_snapshot().anomalies == (Anomaly("dangling", ("a",)),)
        with scene.valkey.monitored() as heard:
            source.read_snapshot()
        assert heard.of("")["MULTI"] == 1

    def test_a_worker_that_goes_on_is_no_orphanage(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        """However late its heartbeat: the score is over, but it says itself what it works on."""
        queue.enqueue("time.sleep", 600, job_id="long")
        scene.worker("mail", name="anna")
        scene.wait_until_started("long")
        (key,) = scene.redis.zrange("rq:wip:mail", 0, -1)
        scene.redis.zadd("rq:wip:mail", {key: time.time() - 1})
        assert anomalies(source.read_snapshot()) == {}

    @pytest.mark.parametrize("sign", ["key gone", "died", "born again", "given up"])
    def test_a_started_job_without_its_worker_is_orphaned(
        self, scene: Scene, queue: Queue, source: RqSource, sign: str
    ) -> None:
        queue.enqueue("time.sleep", 600, job_id="long")
        worker = scene.worker("mail", name="anna")
        scene.wait_until_started("long")
        assert (anomalies(source.read_snapshot()), source.stuck()) == ({}, [])
        scene.kill(worker)
        scene.redis.hdel("rq:worker:anna", "current_job")
        if sign == "key gone":
            scene.redis.delete("rq:worker:anna")
        elif sign == "died":
            scene.redis.hset("rq:worker:anna", "death", "2026-01-01T00:00:00.000000Z")
        elif sign == "born again":
            scene.redis.hset("rq:worker:anna", "birth", "2999-01-01T00:00:00.000000Z")
        else:
            (key,) = scene.redis.zrange("rq:wip:mail", 0, -1)
            scene.redis.zadd("rq:wip:mail", {key: time.time() - 1})
        assert anomalies(source.read_snapshot()) == {"orphaned": ["long"]}
        (stuck,) = source.stuck()
        assert (stuck.job.id, stuck.reason) == ("long", "its worker is gone")

    def test_a_killed_worker_is_found_out_by_its_late_sign_of_life_before_rq_gives_it_up(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        """The clock is put forward by letting its key live for less: RQ adds 60 s to the time until the next sign."""
        queue.enqueue("time.sleep", 600, job_id="long")
        worker = scene.worker("mail", name="anna")
        scene.wait_until_started("long")
        look = source.read_snapshot()
        assert look.workers is not None
        assert (look.workers[0].state, anomalies(look)) == ("busy", {})
        assert look.workers[0].note == "heartbeat every 30 s; its death would be detected within 45 s"
        scene.kill(worker)
        scene.redis.pexpire("rq:worker:anna", 46_000)
        assert anomalies(source.read_snapshot()) == {}
        scene.redis.pexpire("rq:worker:anna", 44_000)
        look = source.read_snapshot()
        assert anomalies(look) == {"orphaned": ["long"]}
        assert look.workers is not None
        assert (look.workers[0].state, look.health) == ("silent", "no workers, 1 silent")
        assert look.workers[0].note == "its heartbeat is late; RQ itself waits 44 s more"
        (stuck,) = source.stuck()
        assert (stuck.job.id, stuck.reason) == ("long", "its worker is gone")

    def test_an_execution_that_rq_left_behind_is_no_orphan(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        put(queue, "done")
        scene.work("mail")
        scene.redis.zadd("rq:wip:mail", {"done:1": time.time() - 1})
        assert anomalies(source.read_snapshot()) == {}


class TestOneJob:
    def test_its_fate_is_told_from_where_it_is(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        put(queue, "done")
        queue.enqueue("int", "x", job_id="broken")
        scene.work("mail")
        put(queue, "waiting")
        assert source.look_up("waiting") == JobLookup("found", Job("waiting", "queued", "mail"))
        assert source.look_up("done") == JobLookup("finished", end_state="finished")
        assert source.look_up("broken") == JobLookup("finished", end_state="failed")
        assert source.look_up("never heard of") == JobLookup("cannot-tell")

    def test_a_job_that_is_nowhere_is_unknown_once_no_worker_can_hold_it(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "a")
        scene.redis.delete("rq:queue:mail")
        source.read_snapshot()
        began = time.monotonic()
        assert source.look_up("a") == JobLookup("unknown")
        assert time.monotonic() - began > CONFIRM_AFTER_S

    def test_a_silent_server_cannot_tell(self, scene: Scene, source: RqSource) -> None:
        scene.valkey.stop()
        assert source.look_up("a") == JobLookup("cannot-tell")

    def test_an_error_of_many_lines_is_told_with_its_type_and_all_of_them(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        queue.enqueue("exec", "raise LookupError('first\\nsecond\\n  third')", job_id="broken")
        scene.work("mail")
        detail = source.detail("broken")
        assert detail is not None
        assert str(detail.error) == "LookupError: first\nsecond\n  third"

    def test_details_hold_no_arguments_and_the_error(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        queue.enqueue("int", "secret", job_id="broken")
        scene.work("mail", name="anna")
        detail = source.detail("broken")
        assert detail is not None
        assert (detail.job, detail.description, detail.worker) == (Job("broken", "failed", "mail"), "int(…)", "anna")
        assert str(detail.error) == "ValueError: invalid literal for int() with base 10: 'secret'"
        assert None not in (detail.enqueued_at, detail.started_at, detail.ended_at)
        assert source.detail("never heard of") is None

    def test_a_job_that_runs_longer_than_it_may_is_stuck(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        queue.enqueue("time.sleep", 600, job_id="long", job_timeout=60)
        scene.worker("mail")
        scene.wait_until_started("long")
        scene.redis.hset("rq:job:long", "started_at", "2026-01-01T00:00:00.000000Z")
        (stuck,) = source.stuck()
        assert (stuck.job.id, stuck.reason.endswith("s longer than it may")) == ("long", True)


class TestManners:
    def test_nothing_is_ever_written(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        put(queue, *(f"job{n}" for n in range(20)))
        queue.enqueue("int", "x", job_id="broken")
        with scene.valkey.monitored() as heard:
            scene.worker("mail", options=("--burst",))
            wait_for(lambda: source.read_snapshot().counts["queued"] == 0, "the jobs to be done", 60)
            source.look_up("broken")
            source.detail("broken")
            source.read_facts(["broken", "job1"])
            source.stuck()
        assert "HSET" in heard.of("")
        assert set(heard.of("beacon")) <= READS

    def test_no_turn_of_the_loop_grows_with_the_number_of_ids(self, scene: Scene) -> None:
        some, many = (self._longest_turn(scene, jobs) for jobs in (10_000, 40_000))
        # Four times the ids would be four times the calls. One turn also reads what has come, which varies by a tenth.
        assert many["longest"] <= 1.5 * some["longest"], f"until {many['where']}"

    def _longest_turn(self, scene: Scene, jobs: int) -> dict[str, Any]:
        scene.redis.flushdb()
        made = [f"{n:036}" for n in range(jobs)]
        pipe = scene.redis.pipeline(transaction=False)
        for job_id in made:
            pipe.hset(RqJob.key_for(job_id), "status", "queued")
        pipe.rpush("rq:queue:mail", *made)
        pipe.sadd("rq:queues", "rq:queue:mail")
        pipe.execute()
        command = [sys.executable, "-m", "tests.services.loop_probe", scene.valkey.url, "200000"]
        told: dict[str, Any] = json.loads(subprocess.check_output(command, cwd=ROOT, text=True, timeout=scaled(60)))
        assert told["listed"] == jobs
        return told

    def test_a_slow_server_is_given_up(self, scene: Scene, source: RqSource) -> None:
        source.read_snapshot()
        scene.valkey.freeze()
        began = time.monotonic()
        with pytest.raises(SourceError, match=r"^did not answer within 5 s$"):
            source.read_snapshot()
        assert time.monotonic() - began > 4.5
        scene.valkey.thaw()
        assert source.read_snapshot().health == "no workers"

    def test_a_password_is_asked_for_and_never_told(self, scene: Scene, tmp_path: Path) -> None:
        scene.redis.config_set("requirepass", "hunter2")
        address = KIND.check_url(f"redis://:wrong@127.0.0.1:{scene.valkey.port}/0")
        with pytest.raises(SourceError) as refused:
            KIND.build(address, KIND.options(), 10).read_snapshot()
        assert refused.value.reason == "requires a password, or rejects the given one"
        assert "wrong" not in address.url
        right = KIND.check_url(f"redis://:hunter2@127.0.0.1:{scene.valkey.port}/0")
        assert KIND.build(right, KIND.options(), 10).read_snapshot().health == "no workers"
        scene.redis.execute_command("AUTH", "hunter2")  # type: ignore[no-untyped-call]

    def test_a_socket_file_will_do(self, scene: Scene, queue: Queue) -> None:
        put(queue, "a")
        source = KIND.build(KIND.check_url(f"unix://{scene.valkey.socket}?db=0"), KIND.options(), 10)
        assert source.read_snapshot().counts["queued"] == 1


def _an_hour() -> timedelta:
    return timedelta(hours=1)

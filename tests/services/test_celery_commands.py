"""Orders to Celery: what they do is read from the broker and from Celery's own workers, before and after."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.sources.celery import KIND
from app.sources.celery.celery_commands import ALREADY_TAKEN, MAX_PURGED
from app.sources.celery.celery_source import CelerySource
from app.sources.celery.options import CeleryOptions
from app.sources.protocol import JobFilter, NotSent, Operation, OutcomeUnknown, ServiceAddress, SourceError
from app.sources.redis.redis_commands import ANSWER_KEY_PREFIX
from tests.services.celery_scene import Fleet, source_of
from tests.services.cutting import What, wire
from tests.services.test_celery_healthy import CONNECTS, READS
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
def source(valkey: Valkey) -> Iterator[CelerySource]:
    made = source_of(valkey, queues=("celery", "print"), inspect=False, result_backend=True)
    yield made
    made.close()


def order(action: Any, target: str, key: str = "k1", **more: Any) -> Operation:
    return Operation(action, target, key, **more)


def now() -> datetime:
    return datetime.now(UTC)


def everything(fleet: Fleet) -> dict[bytes, bytes | None]:
    keys = sorted(key for key in fleet.redis.keys("*") if not key.startswith(ANSWER_KEY_PREFIX.encode()))
    return {key: fleet.redis.dump(key) for key in keys}


def result_of(fleet: Fleet, task_id: str) -> bytes | None:
    found: bytes | None = fleet.redis.get(f"celery-task-meta-{task_id}")
    return found


class TestSeen:
    """That it was done is kept under its key; that it can be seen is read from the queues."""

    @pytest.mark.parametrize("action", ["delete-job", "purge-queue"])
    def test_what_was_removed_and_is_there_again_is_not_seen_to_be_gone(
        self, fleet: Fleet, source: CelerySource, action: str
    ) -> None:
        task = fleet.send("add", 1, 2)
        raw = fleet.redis.lindex("celery", 0)
        wanted = order(action, task if action == "delete-job" else "celery")
        assert not source.verify_effect(wanted, now())
        source.execute(wanted)
        assert source.verify_effect(wanted, now())
        fleet.redis.lpush("celery", raw)
        assert not source.verify_effect(wanted, now())


class TestPurge:
    def test_one_queue_loses_all_its_priorities_and_no_other_loses_anything(
        self, fleet: Fleet, source: CelerySource
    ) -> None:
        mine = [fleet.send("add", 1, 2, priority=priority) for priority in (0, 3, 9)]
        other = fleet.send("add", 1, 2, queue="print")
        assert source.read_snapshot().counts["queued"] == 4
        done = source.execute(order("purge-queue", "celery", at_most=3))
        assert (done.outcome, done.effect["purged"]) == ("done", 3)
        assert sorted(done.effect["jobIds"]) == sorted(mine)
        assert fleet.queued() == []
        assert [*fleet.redis.keys("celery*")] == []
        assert list(source.read_snapshot().listings[0].jobs) == [other]

    def test_a_worker_that_comes_afterwards_runs_only_what_is_left(self, fleet: Fleet, source: CelerySource) -> None:
        gone = fleet.send("add", 1, 2)
        source.execute(order("purge-queue", "celery"))
        left = fleet.send("add", 3, 4)
        fleet.worker(pool="solo")
        wait_for(lambda: result_of(fleet, left) is not None, "the task that is left to end", 60)
        assert result_of(fleet, gone) is None

    def test_more_tasks_than_were_seen_are_refused_and_all_stay(self, fleet: Fleet, source: CelerySource) -> None:
        fleet.send_many("add", 3, 1, 2)
        before = everything(fleet)
        done = source.execute(order("purge-queue", "celery", at_most=2))
        assert (done.outcome, "now has 3 tasks" in done.detail) == ("refused", True)
        assert everything(fleet) == before

    def test_a_queue_that_is_not_watched_is_absent_and_untouched(self, fleet: Fleet, source: CelerySource) -> None:
        fleet.send("add", 1, 2, queue="secret")
        before = everything(fleet)
        assert source.execute(order("purge-queue", "secret")).outcome == "absent"
        assert everything(fleet) == before

    def test_what_nobody_can_read_goes_too_and_is_counted(self, fleet: Fleet, source: CelerySource) -> None:
        task_id = fleet.send("add", 1, 2)
        fleet.redis.lpush("celery", b"\xff not JSON", b"[1, 2]", b'{"headers": 7}')
        assert source.select(JobFilter("queued", "celery"), 10).total == 4
        done = source.execute(order("purge-queue", "celery", at_most=4))
        assert (done.effect["purged"], done.effect["jobIds"]) == (4, [task_id])

    def test_a_purge_of_the_largest_size_names_every_task(self, fleet: Fleet, source: CelerySource) -> None:
        raw = _one_message(fleet)
        fleet.redis.rpush("celery", *[raw] * MAX_PURGED)
        done = source.execute(order("purge-queue", "celery"))
        assert (done.effect["purged"], len(done.effect["jobIds"])) == (MAX_PURGED, MAX_PURGED)
        # The broker serves nobody else meanwhile; it takes a tenth of this.
        held_s = max((entry["duration"] / 1e6 for entry in fleet.redis.slowlog_get()), default=0.0)
        assert held_s < scaled(3.0)


class TestDelete:
    def test_one_task_goes_and_its_neighbours_stay_in_order(self, fleet: Fleet, source: CelerySource) -> None:
        first, second, third = fleet.send_many("add", 3, 1, 2)
        before = fleet.queued()
        assert source.execute(order("delete-job", second)).outcome == "done"
        assert fleet.queued() == [raw for raw in before if second.encode() not in raw]
        assert sorted(source.read_snapshot().listings[0].jobs) == sorted([first, third])

    def test_an_id_in_another_tasks_arguments_is_not_that_task(self, fleet: Fleet, source: CelerySource) -> None:
        victim = fleet.send("add", 1, 2)
        bystander = fleet.send("nap", victim)
        assert source.execute(order("delete-job", victim)).outcome == "done"
        assert list(source.read_snapshot().listings[0].jobs) == [bystander]

    def test_a_task_that_a_worker_has_taken_is_refused_and_goes_on(
        self, fleet: Fleet, source: CelerySource, tmp_path: Path
    ) -> None:
        may_end = tmp_path / "may end"
        fleet.worker()
        task_id = fleet.send("late_wait_for_file", str(may_end))
        wait_for(lambda: fleet.redis.hlen("unacked") == 1, "the worker to take it", 60)
        done = source.execute(order("delete-job", task_id))
        assert (done.outcome, done.detail) == ("refused", ALREADY_TAKEN)
        may_end.touch()
        wait_for(lambda: b"SUCCESS" in (result_of(fleet, task_id) or b""), "it to end as it would have", 60)

    def test_a_task_that_is_nowhere_is_absent(self, source: CelerySource) -> None:
        assert source.execute(order("delete-job", "never")).outcome == "absent"


class TestNotPossible:
    @pytest.mark.parametrize("action", ["retry-job", "restart-service"])
    def test_it_is_refused_with_the_reason_and_touches_nothing(
        self, fleet: Fleet, source: CelerySource, action: Any
    ) -> None:
        task_id = fleet.send("add", 1, 2)
        before = everything(fleet)
        done = source.execute(order(action, task_id))
        assert (done.outcome, done.detail) == ("refused", source.capabilities.why_not(action))
        assert everything(fleet) == before

    def test_without_a_connection_nothing_was_asked(self, valkey: Valkey, source: CelerySource) -> None:
        valkey.stop()
        for wanted in (order("purge-queue", "celery"), order("delete-job", "a")):
            with pytest.raises(NotSent, match="refused the connection"):
                source.execute(wanted)


class TestOnce:
    @pytest.mark.parametrize("action", ["purge-queue", "delete-job"])
    def test_a_lost_answer_is_settled_by_reading_and_nothing_is_done_twice(
        self, valkey: Valkey, fleet: Fleet, source: CelerySource, action: Any
    ) -> None:
        task_id = fleet.send("add", 1, 2)
        wanted = order(action, "celery" if action == "purge-queue" else task_id)
        assert source.resolve_outcome(wanted, now()) is None
        asked_at = act_through(valkey, "answer", wanted)
        later = fleet.send("add", 3, 4)
        with valkey.monitored() as heard:
            settled = source.resolve_outcome(wanted, asked_at)
        assert set(heard.of("beacon")) <= {"GET", *CONNECTS}
        assert settled is not None
        assert (settled.outcome, settled) == ("done", source.execute(wanted))
        assert list(source.read_snapshot().listings[0].jobs) == [later]

    @pytest.mark.parametrize("lost", ["question", "late"])
    def test_what_did_not_arrive_in_time_is_known_not_to_have_been_done(
        self, valkey: Valkey, fleet: Fleet, source: CelerySource, lost: What
    ) -> None:
        fleet.send("add", 1, 2)
        before = everything(fleet)
        wanted = order("purge-queue", "celery", not_after=now() + timedelta(seconds=1))
        asked_at = act_through(valkey, lost, wanted)
        wait_for(lambda: source.resolve_outcome(wanted, asked_at) is not None, "the deadline to be over", 20)
        done = source.resolve_outcome(wanted, asked_at)
        assert done is not None
        assert (done.outcome, everything(fleet)) == ("refused", before)

    def test_only_what_was_ordered_is_written(self, valkey: Valkey, fleet: Fleet, source: CelerySource) -> None:
        first, *_ = fleet.send_many("add", 3, 1, 2)
        with valkey.monitored() as heard:
            source.execute(order("delete-job", first))
            source.execute(order("purge-queue", "celery", "k2"))
            source.select(JobFilter("queued"), 10)
        assert set(heard.of("beacon")) <= {"EVAL", *READS, *CONNECTS}
        written = {name: count for name, count in heard.of("lua").items() if name not in _LUA_READS}
        assert written == {"SET": 4, "LREM": 1, "DEL": 4}


_LUA_READS = {"GET", "TIME", "LLEN", "LRANGE"}


class TestSelect:
    def test_a_filter_is_counted_and_named(self, fleet: Fleet, source: CelerySource) -> None:
        mine = fleet.send_many("add", 3, 1, 2)
        fleet.send("add", 1, 2, queue="print")
        found = source.select(JobFilter("queued", "celery"), 2)
        assert (found.total, len(found.job_ids), set(found.job_ids) < set(mine)) == (3, 2, True)
        assert source.select(JobFilter("queued"), 10).total == 4
        assert source.select(JobFilter("reserved"), 10).total == 0

    @pytest.mark.parametrize("wanted", [JobFilter("ended"), JobFilter("queued", older_than=datetime.now(UTC))])
    def test_what_celery_does_not_tell_is_said(self, source: CelerySource, wanted: JobFilter) -> None:
        with pytest.raises(SourceError, match="does not report"):
            source.select(wanted, 10)


def act_through(valkey: Valkey, lost: What, wanted: Operation) -> datetime:
    """Over a wire that breaks when the order itself goes by; when it was asked."""
    with wire(valkey.port, lost) as broken:
        address = ServiceAddress(f"redis://127.0.0.1:{broken.port}/0")
        asked_at = now()
        with (
            closing(KIND.build(address, CeleryOptions(inspect=False), 10_000)) as asking,
            pytest.raises(OutcomeUnknown),
        ):
            asking.execute(wanted)
        if lost == "late":
            time.sleep(max(0.0, ((wanted.not_after or now()) - now()).total_seconds()))
            broken.deliver.set()
            assert broken.answered.wait(scaled(20))
    return asked_at


def _one_message(fleet: Fleet) -> bytes:
    fleet.send("add", 1, 2)
    [raw] = fleet.queued()
    fleet.redis.delete("celery")
    return raw

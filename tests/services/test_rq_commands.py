"""Orders to RQ: what they do is read from the server and from RQ's own workers, before and after."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rq import Queue
from rq.job import Job as RqJob

from app.sources.protocol import (
    JobFilter,
    NotSent,
    Operation,
    OperationResult,
    OutcomeUnknown,
    ServiceAddress,
    SourceError,
)
from app.sources.redis.redis_commands import ANSWER_KEY_PREFIX, MAX_CLOCK_DRIFT
from app.sources.rq import KIND
from app.sources.rq.rq_commands import MAX_PURGED
from app.sources.rq.rq_source import RqSource
from tests.services.cutting import What, wire
from tests.services.rq_scene import Scene, anomalies, ids
from tests.services.test_rq import READS
from tests.support.machine import scaled
from tests.support.waiting import wait_for

# What Beacon sends beside its reads, and what its scripts write; nothing else.
ASKS = {*READS, "EVAL", "GET"}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Scene() as made:
        yield made


@pytest.fixture
def queue(scene: Scene) -> Queue:
    return scene.queue()


@pytest.fixture
def source(scene: Scene) -> Iterator[RqSource]:
    made = scene.source(supervised=True)
    yield made
    made.close()


def order(action: Any, target: str, key: str = "k1", **more: Any) -> Operation:
    return Operation(action, target, key, **more)


def now() -> datetime:
    return datetime.now(UTC)


def put(queue: Queue, *job_ids: str, **options: Any) -> None:
    for job_id in job_ids:
        queue.enqueue("time.sleep", 0, job_id=job_id, **options)


def states(scene: Scene) -> list[bytes]:
    return [scene.redis.hget(key, "state") or b"" for key in scene.redis.keys("rq:worker:*")]


def fail(scene: Scene, queue: Queue, *job_ids: str) -> None:
    """By a worker, as jobs fail."""
    for job_id in job_ids:
        queue.enqueue("os.rmdir", f"/nowhere/{job_id}", job_id=job_id)
    scene.work(queue.name)


def everything(scene: Scene) -> dict[bytes, bytes | None]:
    """The whole database but Beacon's answers."""
    keys = sorted(key for key in scene.redis.keys("*") if not key.startswith(ANSWER_KEY_PREFIX.encode()))
    return {key: scene.redis.dump(key) for key in keys}


class TestRetry:
    def test_a_failed_job_is_queued_once_and_a_worker_runs_it(
        self, scene: Scene, queue: Queue, source: RqSource, tmp_path: Any
    ) -> None:
        queue.enqueue("os.rmdir", str(tmp_path / "a"), job_id="a")
        scene.work("mail")
        assert (ids(source.read_snapshot(), "failed"), ids(source.read_snapshot(), "queued")) == (["a"], [])
        done = source.execute(order("retry-job", "a"))
        assert (done.outcome, dict(done.effect)) == ("done", {"state": "queued", "queue": "mail"})
        assert scene.redis.lrange("rq:queue:mail", 0, -1) == [b"a"]
        assert (scene.redis.zcard("rq:failed:mail"), scene.redis.ttl("rq:job:a")) == (0, -1)
        (tmp_path / "a").mkdir()
        scene.work("mail")
        assert ids(source.read_snapshot(), "finished") == ["a"]
        assert not (tmp_path / "a").exists()
        assert anomalies(source.read_snapshot()) == {}

    def test_it_leaves_what_rq_itself_would(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        """RQ's own requeue is what the script must keep up with; times differ, and RQ packs the same data anew."""
        fail(scene, queue, "ours", "theirs")
        queue.failed_job_registry.requeue("theirs")
        source.execute(order("retry-job", "ours"))
        kept = {name: scene.redis.hgetall(f"rq:job:{name}") for name in ("ours", "theirs")}
        assert kept["ours"].keys() == kept["theirs"].keys() - {b"exc_info"}  # which is empty there
        varying = {b"created_at", b"enqueued_at", b"last_heartbeat", b"data", b"description", b"exc_info"}
        assert {k: v for k, v in kept["ours"].items() if k not in varying} == {
            k: v for k, v in kept["theirs"].items() if k not in varying
        }
        assert queue.job_ids == ["theirs", "ours"]

    @pytest.mark.parametrize("where", ["queued", "finished", "started"])
    def test_a_job_that_has_not_failed_is_refused_and_untouched(
        self, scene: Scene, queue: Queue, source: RqSource, where: str
    ) -> None:
        if where == "started":
            queue.enqueue("time.sleep", 600, job_id="a")
            scene.worker("mail")
            scene.wait_until_started("a")
        else:
            put(queue, "a")
        if where == "finished":
            scene.work("mail")
        before = scene.redis.hget("rq:job:a", "enqueued_at")
        done = source.execute(order("retry-job", "a"))
        assert done.outcome == "refused"
        assert scene.redis.hget("rq:job:a", "enqueued_at") == before
        assert scene.redis.exists(f"{ANSWER_KEY_PREFIX}k1") == 0

    def test_a_job_that_is_not_there_is_absent(self, source: RqSource) -> None:
        assert source.execute(order("retry-job", "never")).outcome == "absent"


def waiting(scene: Scene, queue: str = "mail") -> list[bytes]:
    found: list[bytes] = scene.redis.lrange(f"rq:queue:{queue}", 0, -1)
    return found


class TestPromote:
    def test_a_waiting_job_is_the_next_that_a_worker_runs(
        self, scene: Scene, queue: Queue, source: RqSource, tmp_path: Any
    ) -> None:
        for name in "abc":
            queue.enqueue("os.system", f"echo {name} >> {tmp_path / 'ran'}", job_id=name)
        kept = {name: scene.redis.hgetall(f"rq:job:{name}") for name in "abc"}
        done = source.execute(order("promote-job", "c"))
        assert (done.outcome, done.detail) == ("done", "It was moved to the front of mail.")
        assert waiting(scene) == [b"c", b"a", b"b"]
        assert {name: scene.redis.hgetall(f"rq:job:{name}") for name in "abc"} == kept
        assert anomalies(source.read_snapshot()) == {}
        scene.work("mail")
        assert (tmp_path / "ran").read_text().split() == ["c", "a", "b"]

    def test_the_first_one_stays_the_first(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        put(queue, "a", "b")
        before = everything(scene)
        assert source.execute(order("promote-job", "a")).outcome == "done"
        assert everything(scene) == before
        assert source.verify_effect(order("promote-job", "a"), now())

    @pytest.mark.parametrize("where", ["finished", "failed", "scheduled", "taken"])
    def test_a_job_that_does_not_wait_is_refused_and_untouched(
        self, scene: Scene, queue: Queue, source: RqSource, where: str
    ) -> None:
        if where == "failed":
            fail(scene, queue, "a")
        elif where == "scheduled":
            queue.enqueue_in(timedelta(hours=1), "time.sleep", 0, job_id="a")
        else:
            put(queue, "a")
        if where == "finished":
            scene.work("mail")
        put(queue, "b")
        if where == "taken":
            scene.redis.lmove("rq:queue:mail", "rq:queue:mail:intermediate", "LEFT", "RIGHT")
        before = everything(scene)
        done = source.execute(order("promote-job", "a"))
        assert (done.outcome, "does not wait in its queue" in done.detail) == ("refused", True)
        assert everything(scene) == before
        assert scene.redis.exists(f"{ANSWER_KEY_PREFIX}k1") == 0

    def test_a_job_that_is_not_there_is_absent_and_one_of_an_unwatched_queue_is_refused(self, scene: Scene) -> None:
        put(scene.queue("print"), "a", "b")
        watching = scene.source(queues=("mail",))
        assert watching.execute(order("promote-job", "never")).outcome == "absent"
        assert watching.execute(order("promote-job", "b", "k2")).outcome == "refused"
        assert waiting(scene, "print") == [b"a", b"b"]

    def test_it_is_seen_where_it_waits_whatever_is_promoted_after_it(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "a", "b", "c")
        wanted, asked_at = order("promote-job", "b"), now()
        assert not source.verify_effect(wanted, asked_at)
        source.execute(wanted)
        assert source.verify_effect(wanted, asked_at)
        source.execute(order("promote-job", "c", "k2"))
        assert waiting(scene) == [b"c", b"b", b"a"]
        assert source.verify_effect(wanted, asked_at)
        scene.redis.lrem("rq:queue:mail", 0, "b")
        assert not source.verify_effect(wanted, asked_at), "it waits no more, and no worker has begun it"
        scene.redis.rpush("rq:queue:mail", "b")
        assert not source.verify_effect(wanted, asked_at), "it waits behind the one that was first"
        scene.work("mail")
        assert source.verify_effect(wanted, asked_at), "a worker has run it"

    def test_nothing_but_its_place_is_written(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        put(queue, "a", "b")
        with scene.valkey.monitored() as heard:
            source.execute(order("promote-job", "b"))
        assert set(heard.of("beacon")) <= ASKS
        written = {name: count for name, count in heard.of("lua").items() if name not in _LUA_READS}
        assert written == {"SET": 2, "LREM": 1, "LPUSH": 1}


class TestDelete:
    @pytest.mark.parametrize("where", ["queued", "finished", "failed", "scheduled"])
    def test_nothing_is_left_of_a_deleted_job(self, scene: Scene, queue: Queue, source: RqSource, where: str) -> None:
        scene.redis.sadd("rq:queues", "rq:queue:mail")
        before = everything(scene)
        if where == "failed":
            fail(scene, queue, "a")
        elif where == "scheduled":
            queue.enqueue_in(timedelta(hours=1), "time.sleep", 0, job_id="a")
        else:
            put(queue, "a")
        if where == "finished":
            scene.work("mail")
        assert ids(source.read_snapshot(), where) == ["a"]
        done = source.execute(order("delete-job", "a"))
        assert (done.outcome, done.effect["was"]) == ("done", where)
        left = {key for key in everything(scene) if key not in before}
        assert not [key for key in left if b"job:a" in key or b"results:a" in key]
        assert (set(source.read_snapshot().counts.values()), anomalies(source.read_snapshot())) == ({0}, {})

    def test_a_running_job_is_refused_and_goes_on(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        queue.enqueue("time.sleep", 600, job_id="a")
        scene.worker("mail")
        scene.wait_until_started("a")
        done = source.execute(order("delete-job", "a"))
        assert (done.outcome, "worker" in done.detail) == ("refused", True)
        assert ids(source.read_snapshot(), "started") == ["a"]

    def test_a_job_that_a_worker_has_just_taken_is_refused(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        put(queue, "a")
        scene.redis.lmove("rq:queue:mail", "rq:queue:mail:intermediate", "LEFT", "RIGHT")
        before = everything(scene)
        assert source.execute(order("delete-job", "a")).outcome == "refused"
        assert everything(scene) == before

    def test_a_job_that_others_wait_for_is_refused_until_they_are_gone(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "first")
        put(queue, "second", depends_on="first")
        before = everything(scene)
        done = source.execute(order("delete-job", "first"))
        assert (done.outcome, "would wait forever: 1" in done.detail) == ("refused", True)
        assert everything(scene) == before
        assert source.execute(order("delete-job", "second", "k2")).outcome == "done"
        assert source.execute(order("delete-job", "first", "k3")).outcome == "done"

    def test_a_job_of_an_unwatched_queue_is_refused(self, scene: Scene) -> None:
        put(scene.queue("print"), "a")
        before = everything(scene)
        done = scene.source(queues=("mail",)).execute(order("delete-job", "a"))
        assert (done.outcome, "print" in done.detail) == ("refused", True)
        assert everything(scene) == before

    def test_arguments_that_must_not_be_unpickled_stay_closed(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "a")
        scene.redis.hset("rq:job:a", mapping={"data": b"\x00garbage", "meta": b"cos\nsystem\n(S'exit 1'\ntR."})
        assert source.execute(order("delete-job", "a")).outcome == "done"


class TestPurge:
    def test_one_queue_is_emptied_and_its_jobs_are_named(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        put(queue, *(f"job{n}" for n in range(5)))
        put(scene.queue("print"), "other")
        done = source.execute(order("purge-queue", "mail", at_most=5))
        assert (done.outcome, done.effect["purged"]) == ("done", 5)
        assert done.effect["jobIds"] == [f"job{n}" for n in range(5)]
        assert scene.redis.llen("rq:queue:mail") == 0
        assert ids(source.read_snapshot(), "queued") == ["other"]
        assert sorted(scene.redis.keys("rq:job:*")) == [b"rq:job:other"]

    def test_more_jobs_than_were_seen_are_refused_and_all_stay(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "a", "b", "c")
        before = everything(scene)
        done = source.execute(order("purge-queue", "mail", at_most=2))
        assert (done.outcome, "now has 3 jobs" in done.detail) == ("refused", True)
        assert everything(scene) == before

    def test_what_others_wait_for_and_what_runs_under_the_same_id_stays(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "a", "first", "b")
        put(queue, "second", depends_on="first")
        scene.redis.zadd("rq:executions:b", {"1": time.time() + 60})
        done = source.execute(order("purge-queue", "mail"))
        assert (done.effect["purged"], done.effect["kept"], done.effect["jobIds"]) == (1, 2, ["a"])
        assert scene.redis.lrange("rq:queue:mail", 0, -1) == [b"first", b"b"]
        assert scene.redis.exists("rq:job:first", "rq:job:b") == 2

    def test_an_id_from_its_last_time_leaves_no_dangling_entry(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "nightly")
        scene.work("mail")
        put(queue, "nightly")
        assert source.execute(order("purge-queue", "mail")).effect["purged"] == 1
        assert anomalies(source.read_snapshot()) == {}

    def test_an_empty_queue_is_purged_of_nothing_and_no_queue_is_absent(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "a")
        scene.redis.delete("rq:queue:mail")
        assert source.execute(order("purge-queue", "mail")).effect["purged"] == 0
        assert source.execute(order("purge-queue", "nowhere", "k2")).outcome == "absent"

    def test_a_purge_of_the_largest_size_keeps_a_small_answer_and_a_larger_one_is_refused(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        fill(scene, MAX_PURGED)
        done = source.execute(order("purge-queue", "mail"))

        assert (done.effect["purged"], len(done.effect["jobIds"])) == (MAX_PURGED, MAX_PURGED)
        assert scene.redis.strlen(f"{ANSWER_KEY_PREFIX}k1") < 1_000, "the kept answer stays small"
        assert scene.redis.dbsize() == 2
        # The server serves nobody else meanwhile; it takes a tenth of this.
        held_s = max((entry["duration"] / 1e6 for entry in scene.redis.slowlog_get()), default=0.0)
        assert held_s < scaled(3.0)
        fill(scene, MAX_PURGED + 1)
        assert source.execute(order("purge-queue", "mail", "k2")).outcome == "refused"
        assert scene.redis.llen("rq:queue:mail") == MAX_PURGED + 1


class TestRestart:
    def test_every_worker_ends_after_its_job_and_its_supervisor_starts_it(
        self, scene: Scene, queue: Queue, source: RqSource, tmp_path: Any
    ) -> None:
        may_end = tmp_path / "may end"
        queue.enqueue("os.system", f"until [ -e '{may_end}' ]; do sleep 0.1; done", job_id="a")
        workers = [scene.worker(name=name) for name in ("anna", "berta")]
        scene.wait_until_started("a")
        wait_for(lambda: sorted(states(scene)) == [b"busy", b"idle"], "the other worker to be ready", 60)
        done = source.execute(order("restart-service", "mail"))
        assert (done.outcome, sorted(done.effect["workers"])) == ("done", ["anna", "berta"])
        may_end.touch()
        assert [worker.wait(scaled(60)) for worker in workers] == [0, 0]
        assert ids(source.read_snapshot(), "finished") == ["a"]

    def test_it_is_seen_once_every_worker_that_was_told_has_ended(
        self, scene: Scene, queue: Queue, source: RqSource, tmp_path: Any
    ) -> None:
        may_end = tmp_path / "may end"
        queue.enqueue("os.system", f"until [ -e '{may_end}' ]; do sleep 0.1; done", job_id="a")
        worker = scene.worker(name="anna")
        scene.wait_until_started("a")
        wanted, asked_at = order("restart-service", "mail"), now()
        assert source.execute(wanted).outcome == "done"
        assert not source.verify_effect(wanted, asked_at), "it was told, and works on"
        may_end.touch()
        assert worker.wait(scaled(60)) == 0
        assert source.verify_effect(wanted, asked_at)

    def test_workers_of_other_queues_go_on(self, scene: Scene) -> None:
        watching = scene.source(queues=("mail",), supervised=True)
        worker = scene.worker("print", name="anna")
        wait_for(lambda: states(scene) == [b"idle"], "the worker to be ready", 60)
        assert watching.execute(order("restart-service", "mail")).outcome == "refused"
        assert worker.poll() is None

    def test_workers_that_do_not_listen_are_not_told_to_end(self, scene: Scene, source: RqSource) -> None:
        born = {"birth": "2026-01-01T00:00:00.000000Z", "queues": "mail", "state": "idle"}
        scene.redis.hset("rq:worker:ghost", mapping=born)
        scene.redis.sadd("rq:workers", "rq:worker:ghost")
        wanted = order("restart-service", "mail")
        assert source.execute(wanted).outcome == "refused"
        assert not source.verify_effect(wanted, now())

    def test_without_workers_it_is_refused(self, source: RqSource) -> None:
        assert source.execute(order("restart-service", "mail")).outcome == "refused"

    def test_without_a_supervisor_it_is_refused_with_the_reason(self, scene: Scene) -> None:
        unsupervised = scene.source()
        worker = scene.worker()
        done = unsupervised.execute(order("restart-service", "mail"))
        assert (done.outcome, done.detail) == ("refused", unsupervised.capabilities.why_not("restart-service"))
        assert worker.poll() is None


REMOVALS = (order("delete-job", "q"), order("purge-queue", "mail"))
ORDERS = (order("retry-job", "f"), order("promote-job", "q"), *REMOVALS)


def act_through(scene: Scene, lost: What, wanted: Operation) -> datetime:
    """Over a wire that breaks when the order itself goes by; when it was asked."""
    with wire(scene.valkey.port, lost) as broken:
        address = ServiceAddress(f"redis://127.0.0.1:{broken.port}/0")
        asked_at = now()
        with closing(KIND.build(address, KIND.options(), 10_000)) as asking, pytest.raises(OutcomeUnknown):
            asking.execute(wanted)
        if lost == "late":
            time.sleep(max(0.0, ((wanted.not_after or now()) - now()).total_seconds()))
            broken.deliver.set()
            assert broken.answered.wait(scaled(20))
    return asked_at


class TestOnce:
    @pytest.mark.parametrize("wanted", ORDERS, ids=lambda wanted: wanted.action)
    def test_the_same_key_is_done_once(self, scene: Scene, queue: Queue, source: RqSource, wanted: Operation) -> None:
        fail(scene, queue, "f")
        put(queue, "q")
        first = source.execute(wanted)
        assert first.outcome == "done"
        if wanted.action == "delete-job":
            put(queue, "q")
        else:
            fail(scene, queue, "g")  # a worker empties the queue, and f fails again
            put(queue, "r")
        before = everything(scene)
        assert source.execute(wanted) == first
        assert everything(scene) == before

    @pytest.mark.parametrize("wanted", ORDERS, ids=lambda wanted: wanted.action)
    def test_an_order_whose_answer_was_lost_is_settled_by_reading(
        self, scene: Scene, queue: Queue, source: RqSource, wanted: Operation
    ) -> None:
        fail(scene, queue, "f")
        put(queue, "q")
        assert source.resolve_outcome(wanted, now()) is None
        asked_at = act_through(scene, "answer", wanted)
        with scene.valkey.monitored() as heard:
            settled = source.resolve_outcome(wanted, asked_at)
        assert set(heard.of("beacon")) <= {"GET", *READS}
        assert settled is not None
        again = source.execute(wanted)
        assert (settled.outcome, settled.effect) == ("done", again.effect)

    def test_a_retry_that_has_run_since_is_settled_as_done_with_where_it_is_now(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        fail(scene, queue, "f")
        wanted = order("retry-job", "f")
        asked_at = act_through(scene, "answer", wanted)
        scene.work("mail")
        settled = source.resolve_outcome(wanted, asked_at)
        assert settled is not None
        assert (settled.outcome, settled.effect["state"]) == ("done", "failed")

    def test_a_restart_whose_answer_was_lost_is_settled_too(self, scene: Scene, source: RqSource) -> None:
        worker = scene.worker(name="anna")
        wait_for(lambda: states(scene) == [b"idle"], "the worker to be ready", 60)
        wanted = order("restart-service", "mail")
        with wire(scene.valkey.port, "answer") as broken:
            address = ServiceAddress(f"redis://127.0.0.1:{broken.port}/0")
            with (
                closing(KIND.build(address, KIND.options(supervised=True), 10)) as asking,
                pytest.raises(OutcomeUnknown),
            ):
                asking.execute(wanted)
        settled = source.resolve_outcome(wanted, now())
        assert settled is not None
        assert settled.effect["workers"] == ["anna"]
        assert worker.wait(scaled(60)) == 0

    @pytest.mark.parametrize("lost", ["question", "late"])
    def test_an_order_that_did_not_arrive_in_time_is_known_not_to_have_been_done(
        self, scene: Scene, queue: Queue, source: RqSource, lost: What
    ) -> None:
        put(queue, "q")
        before = everything(scene)
        wanted = order("delete-job", "q", not_after=now() + timedelta(seconds=1))
        asked_at = act_through(scene, lost, wanted)
        assert everything(scene) == before

        def settled() -> OperationResult | None:
            return source.resolve_outcome(wanted, asked_at)

        wait_for(lambda: settled() is not None, "the deadline to be over", 20)
        done = settled()
        assert done is not None
        assert done.outcome == "refused"
        assert wanted.not_after is not None
        assert now() > wanted.not_after + MAX_CLOCK_DRIFT


class TestSeen:
    """That it was done is kept under its key; that it can be seen is read from RQ's own data."""

    def test_a_retried_job_is_seen_where_it_is_now(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        fail(scene, queue, "f")
        asked_at = now()
        assert not source.verify_effect(ORDERS[0], asked_at)
        source.execute(ORDERS[0])
        assert source.verify_effect(ORDERS[0], asked_at)
        scene.redis.delete("rq:job:f")
        assert not source.verify_effect(ORDERS[0], asked_at)

    @pytest.mark.parametrize("wanted", REMOVALS, ids=lambda wanted: wanted.action)
    def test_what_was_removed_and_is_there_again_is_not_seen_to_be_gone(
        self, queue: Queue, source: RqSource, wanted: Operation
    ) -> None:
        put(queue, "q")
        assert not source.verify_effect(wanted, now())
        source.execute(wanted)
        assert source.verify_effect(wanted, now())
        put(queue, "q")
        assert not source.verify_effect(wanted, now())


class TestNotDone:
    def test_without_a_connection_nothing_was_asked(self, scene: Scene, source: RqSource) -> None:
        scene.valkey.stop()
        for wanted in (*ORDERS, order("restart-service", "mail")):
            with pytest.raises(NotSent, match="refused the connection"):
                source.execute(wanted)

    def test_after_its_time_nothing_is_asked(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        put(queue, "q")
        with pytest.raises(NotSent, match="the deadline had passed"):
            source.execute(order("delete-job", "q", not_after=now()))
        assert queue.job_ids == ["q"]

    def test_a_server_without_memory_changes_nothing(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        put(queue, "a", "b")
        before = everything(scene)
        scene.redis.config_set("maxmemory", "1")
        done = source.execute(order("purge-queue", "mail"))
        scene.redis.config_set("maxmemory", "0")
        assert (done.outcome, done.detail.startswith("Nothing was changed")) == ("refused", True)
        assert everything(scene) == before

    def test_a_user_who_may_not_write_changes_nothing(self, scene: Scene, queue: Queue) -> None:
        put(queue, "a")
        before = everything(scene)
        rules = ("on", ">secret", "~*", "&*", "+@all", "-@write")
        scene.redis.execute_command("ACL", "SETUSER", "reader", *rules)  # type: ignore[no-untyped-call]
        address = ServiceAddress(f"redis://reader@127.0.0.1:{scene.valkey.port}/0", "secret")
        done = KIND.build(address, KIND.options(), 10).execute(order("delete-job", "a"))
        assert done.outcome == "refused"
        assert everything(scene) == before


class TestManners:
    def test_only_what_was_ordered_is_written(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        fail(scene, queue, "f")
        put(queue, "q", "r")
        with scene.valkey.monitored() as heard:
            source.execute(order("retry-job", "f"))
            source.execute(order("delete-job", "q", "k2"))
            source.select(JobFilter("queued", "mail"), 10)
        assert set(heard.of("beacon")) <= ASKS
        assert heard.of("beacon")["EVAL"] == 2
        written = {name: count for name, count in heard.of("lua").items() if name not in _LUA_READS}
        once = dict.fromkeys(("HSET", "HDEL", "PERSIST", "SADD", "RPUSH", "LREM", "DEL"), 1)
        assert written == {"SET": 4, "ZREM": 1 + 6, **once}

    def test_answers_are_kept_for_a_day(self, scene: Scene, queue: Queue, source: RqSource) -> None:
        put(queue, "a")
        source.execute(order("delete-job", "a"))
        assert 86_000 < scene.redis.ttl(f"{ANSWER_KEY_PREFIX}k1") <= 86_400


_LUA_READS = {
    "GET",
    "TIME",
    "HMGET",
    "HGET",
    "ZCARD",
    "LPOS",
    "ZSCORE",
    "SMEMBERS",
    "LLEN",
    "LRANGE",
    "LINDEX",
    "SISMEMBER",
}


class TestSelect:
    def test_a_filter_is_counted_and_named_as_the_look_shows_it(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        put(queue, "a", "b", "c")
        put(scene.queue("print"), "d")
        found = source.select(JobFilter("queued", "mail"), 2)
        assert (found.total, found.job_ids) == (3, ("a", "b"))
        assert source.select(JobFilter("queued"), 10).total == 4 == source.read_snapshot().counts["queued"]
        assert source.select(JobFilter("failed"), 10).total == 0
        with pytest.raises(SourceError, match="has no state"):
            source.select(JobFilter("sleeping"), 10)

    def test_an_age_counts_from_when_the_job_came_into_its_state(
        self, scene: Scene, queue: Queue, source: RqSource
    ) -> None:
        fail(scene, queue, "old", "new")
        scene.redis.hset("rq:job:old", "ended_at", "2026-01-01T00:00:00.000000Z")
        found = source.select(JobFilter("failed", older_than=now() - timedelta(hours=1)), 10)
        assert (found.total, found.job_ids) == (1, ("old",))

    def test_beyond_the_bound_there_is_a_number_and_no_ids(self, scene: Scene, queue: Queue) -> None:
        put(queue, "a", "b", "c")
        found = scene.source(bound=2).select(JobFilter("queued", "mail"), 10)
        assert (found.total, found.job_ids) == (3, ())


def fill(scene: Scene, count: int) -> None:
    pipe = scene.redis.pipeline(transaction=False)
    made = [f"{n:036}" for n in range(count)]
    for job_id in made:
        pipe.hset(RqJob.key_for(job_id), mapping={"status": "queued", "origin": "mail"})
    pipe.rpush("rq:queue:mail", *made)
    pipe.sadd("rq:queues", "rq:queue:mail")
    pipe.execute()

"""Orders to the demo service over HTTP: what they do there, read from itself; what is known when the answer is lost."""

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.sources.palantir.palantir_source import PalantirSource
from app.sources.protocol import JobFilter, NotSent, Operation, OperationResult, OutcomeUnknown, SourceError
from tests.sources.upstream import Upstream, send
from tests.support.demo_service import DemoService, start_demo
from tests.support.ports import free_port
from tests.support.waiting import wait_for

# How long these tests wait for an answer that does not come.
SHORT_S = 1.0


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoService]:
    service = start_demo(tmp_path_factory.mktemp("demo"))
    yield service
    service.stop()


@pytest.fixture
def demo(process: DemoService) -> DemoService:
    process.reset()
    return process


@pytest.fixture
def source(demo: DemoService) -> Iterator[PalantirSource]:
    made = PalantirSource(demo.url, 10_000)
    yield made
    made.close()


def now() -> datetime:
    return datetime.now(UTC)


def order(action: Any, target: str, key: str = "k1", **more: Any) -> Operation:
    return Operation(action, target, key, **more)


def state_of(demo: DemoService, job_id: str) -> tuple[int, str]:
    answer = demo.get(f"/api/v1/jobs/{job_id}")
    return answer.status_code, answer.json().get("state", "")


def run_of(demo: DemoService) -> str:
    return str(demo.get("/api/v1/health").json()["instanceId"])


class TestDone:
    def test_a_retried_job_is_queued_in_the_service_itself(self, demo: DemoService, source: PalantirSource) -> None:
        demo.create_job(id="f1", state="failed")
        assert state_of(demo, "f1") == (200, "failed")
        done = source.execute(order("retry-job", "f1"))
        assert (done.outcome, dict(done.effect)) == ("done", {"state": "queued"})
        assert state_of(demo, "f1") == (200, "queued")

    def test_a_deleted_job_is_gone_from_the_service_itself(self, demo: DemoService, source: PalantirSource) -> None:
        demo.create_job(id="a", state="queued")
        assert source.execute(order("delete-job", "a")).outcome == "done"
        assert state_of(demo, "a") == (410, "deleted")

    def test_a_purge_takes_what_is_queued_in_one_queue_and_names_it(
        self, demo: DemoService, source: PalantirSource
    ) -> None:
        demo.create_jobs(*({"id": name, "queue": "mail"} for name in "ab"), {"id": "c", "queue": "print"})
        demo.create_job(id="d", queue="mail", state="running")
        done = source.execute(order("purge-queue", "mail", at_most=2))
        assert (done.outcome, done.effect["purged"], sorted(done.effect["jobIds"])) == ("done", 2, ["a", "b"])
        assert [state_of(demo, name) for name in "abcd"] == [
            *[(410, "purged")] * 2,
            (200, "queued"),
            (200, "running"),
        ]

    def test_a_restart_is_another_run_of_the_service(self, demo: DemoService, source: PalantirSource) -> None:
        before = run_of(demo)
        done = source.execute(order("restart-service", "mail"))
        assert done.outcome == "done"
        assert done.effect["instanceId"] == run_of(demo) != before

    def test_the_same_key_is_done_once_and_answered_alike(self, demo: DemoService, source: PalantirSource) -> None:
        demo.create_job(id="f1", state="failed")
        first = source.execute(order("retry-job", "f1"))
        demo.move("f1", "failed")
        assert source.execute(order("retry-job", "f1")) == first
        assert state_of(demo, "f1") == (200, "failed")
        assert [(call["path"], call["idempotencyKey"]) for call in demo.calls()] == [("/api/v1/jobs/f1/retry", "k1")]

    def test_a_name_with_anything_in_it_is_one_segment_of_the_path(
        self, demo: DemoService, source: PalantirSource
    ) -> None:
        demo.create_job(id="x?y#z ü..", queue="a b?c")
        assert source.execute(order("purge-queue", "a b?c")).effect["jobIds"] == ["x?y#z ü.."]


class TestNotDone:
    def test_a_purge_of_more_than_were_seen_is_refused_and_takes_nothing(
        self, demo: DemoService, source: PalantirSource
    ) -> None:
        demo.create_jobs(*({"id": name, "queue": "mail"} for name in "abc"))
        done = source.execute(order("purge-queue", "mail", at_most=2))
        assert (done.outcome, done.detail) == ("refused", "mail holds 3 jobs, more than 2.")
        assert demo.counts()["counts"]["queued"] == 3

    def test_what_the_service_refuses_comes_with_its_reason(self, demo: DemoService, source: PalantirSource) -> None:
        demo.create_job(id="a", state="running")
        done = source.execute(order("retry-job", "a"))
        assert (done.outcome, done.detail) == ("refused", "Only a failed job can be retried: a is running.")

    def test_a_job_that_is_gone_or_never_was_is_absent(self, demo: DemoService, source: PalantirSource) -> None:
        demo.create_job(id="a", state="succeeded")
        demo.age_out("a")
        gone = source.execute(order("delete-job", "a"))
        assert (gone.outcome, dict(gone.effect)) == ("absent", {"state": "succeeded"})
        assert source.execute(order("delete-job", "never", "k2")).outcome == "absent"

    def test_another_use_of_a_key_is_refused(self, demo: DemoService, source: PalantirSource) -> None:
        demo.create_jobs({"id": "a"}, {"id": "b"})
        source.execute(order("delete-job", "a"))
        assert source.execute(order("delete-job", "b")).outcome == "refused"
        assert state_of(demo, "b") == (200, "queued")

    @pytest.mark.parametrize(("status", "outcome"), [(302, "refused"), (401, "refused"), (404, "refused")])
    def test_a_status_of_something_else_than_the_api_is_a_refusal(
        self, service: Upstream, status: int, outcome: str
    ) -> None:
        service.raw("/api/v1/jobs/a/retry", b"<h1>no</h1>", status, Location="/elsewhere")
        done = PalantirSource(service.url, 10).execute(order("retry-job", "a"))
        assert (done.outcome, str(status) in done.detail) == (outcome, True)
        assert service.asked == ["/api/v1/jobs/a/retry"]


class TestNotSent:
    def test_a_refused_connection_asked_nothing(self) -> None:
        with pytest.raises(NotSent, match="refused the connection"):
            PalantirSource(f"http://127.0.0.1:{free_port()}", 10).execute(order("delete-job", "a"))

    def test_a_name_that_cannot_be_resolved_asked_nothing(self) -> None:
        with pytest.raises(NotSent, match="cannot be resolved"):
            PalantirSource("http://nowhere.invalid:1", 10).execute(order("delete-job", "a"))

    def test_a_server_without_tls_asked_nothing(self, demo: DemoService) -> None:
        with pytest.raises(NotSent):
            PalantirSource(demo.url.replace("http:", "https:"), 10).execute(order("delete-job", "a"))
        assert demo.calls() == []

    def test_after_its_time_nothing_is_asked(self, demo: DemoService, source: PalantirSource) -> None:
        demo.create_job(id="a")
        with pytest.raises(NotSent, match="the deadline had passed"):
            source.execute(order("delete-job", "a", not_after=now()))
        assert demo.calls() == []

    @pytest.mark.parametrize("not_after", [None, timedelta(seconds=0.2)])
    def test_a_name_that_is_looked_up_for_too_long_asked_nothing(
        self, service: Upstream, monkeypatch: pytest.MonkeyPatch, not_after: timedelta | None
    ) -> None:
        """The resolver has no bound of its own, and a process may be frozen between its decision and its first byte."""
        real, began = socket.getaddrinfo, now()
        overdue = began + timedelta(seconds=0.3)

        def slow(*args: Any, **more: Any) -> Any:
            wait_for(lambda: now() > overdue, "the deadline to be over", 20)
            return real(*args, **more)

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        latest = None if not_after is None else began + not_after
        command_timeout_s = 0.2 if latest is None else 10.0
        with pytest.raises(NotSent, match="did not answer" if latest is None else "the deadline had passed"):
            PalantirSource(service.url, 10, command_timeout_s=command_timeout_s).execute(
                order("delete-job", "a", not_after=latest)
            )
        assert service.asked == []

    def test_that_an_earlier_question_left_does_not_count(self, demo: DemoService, tmp_path: Any) -> None:
        own = start_demo(tmp_path)
        try:
            asking = PalantirSource(own.url, 10)
            asking.read_snapshot()
        finally:
            own.stop()
        with pytest.raises(SourceError):  # the kept connection is dead: whether it took the bytes cannot be told
            asking.execute(order("delete-job", "a"))
        with pytest.raises(NotSent):
            asking.execute(order("delete-job", "a"))


class TestUnsure:
    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_an_error_of_the_server_may_come_after_the_effect(self, service: Upstream, status: int) -> None:
        service.json("/api/v1/jobs/a/retry", {"error": "broken"}, status)
        with pytest.raises(OutcomeUnknown, match=f"answered {status}: broken"):
            PalantirSource(service.url, 10).execute(order("retry-job", "a"))

    def test_an_answer_in_another_language_is_not_taken_for_success(
        self, demo: DemoService, source: PalantirSource
    ) -> None:
        demo.create_job(id="a")
        demo.fault("garbage")
        with pytest.raises(OutcomeUnknown):
            source.execute(order("delete-job", "a"))

    def test_a_cut_connection_is_asked_once_and_never_again(self, service: Upstream) -> None:
        def cut(request: Any) -> None:
            request.connection.shutdown(socket.SHUT_RDWR)

        service.answers["/api/v1/jobs/a/retry"] = cut
        with pytest.raises(OutcomeUnknown, match="closed the connection"):
            PalantirSource(service.url, 10).execute(order("retry-job", "a"))
        assert service.asked == ["/api/v1/jobs/a/retry"]

    def test_the_wait_for_an_answer_is_bounded(self, service: Upstream) -> None:
        service.answers["/api/v1/jobs/a/retry"] = lambda _: service.hold()
        began = now()
        with pytest.raises(OutcomeUnknown, match="did not answer"):
            PalantirSource(service.url, 10, command_timeout_s=SHORT_S).execute(order("retry-job", "a"))
        assert now() - began < timedelta(seconds=5)


class TestSettled:
    """The order reached the service, its answer was lost; afterwards only reading is allowed."""

    def lose_the_answer(self, demo: DemoService, wanted: Operation) -> datetime:
        """Returns when it was asked, once the service has done it."""
        asked_at = now()
        demo.fault("hang")
        with pytest.raises(OutcomeUnknown):
            PalantirSource(demo.url, 10, command_timeout_s=SHORT_S).execute(wanted)
        demo.fault("none")
        wait_for(lambda: len(demo.calls()) == 1, "the service to have done it", 20)
        return asked_at

    def settled(
        self, demo: DemoService, source: PalantirSource, wanted: Operation, asked_at: datetime
    ) -> OperationResult | None:
        done = source.resolve_outcome(wanted, asked_at)
        assert len(demo.calls()) == 1, "settling is reading"
        return done

    def test_a_retry(self, demo: DemoService, source: PalantirSource) -> None:
        demo.create_job(id="a", state="failed", ageS=60)
        wanted = order("retry-job", "a")
        assert source.resolve_outcome(wanted, now()) is None
        asked_at = self.lose_the_answer(demo, wanted)
        done = self.settled(demo, source, wanted, asked_at)
        assert done is not None
        assert (done.outcome, dict(done.effect)) == ("done", {"state": "queued"})
        demo.move("a", "failed")
        again = self.settled(demo, source, wanted, asked_at)
        assert again is not None, "it ran and failed again: it was retried all the same"
        assert (again.outcome, dict(again.effect)) == ("done", {"state": "failed"})

    def test_a_delete(self, demo: DemoService, source: PalantirSource) -> None:
        demo.create_job(id="a")
        wanted = order("delete-job", "a")
        assert source.resolve_outcome(wanted, now()) is None
        asked_at = self.lose_the_answer(demo, wanted)
        done = self.settled(demo, source, wanted, asked_at)
        assert done is not None
        assert done.outcome == "done"

    def test_a_purge(self, demo: DemoService, source: PalantirSource) -> None:
        demo.create_jobs(*({"id": name, "queue": "mail", "ageS": 60} for name in "ab"), {"id": "c", "queue": "print"})
        wanted = order("purge-queue", "mail")
        assert source.resolve_outcome(wanted, now()) is None
        asked_at = self.lose_the_answer(demo, wanted)
        demo.create_job(id="new", queue="mail")
        done = self.settled(demo, source, wanted, asked_at)
        assert done is not None
        assert done.outcome == "done"

    def test_a_restart(self, demo: DemoService, source: PalantirSource) -> None:
        wanted = order("restart-service", "mail", instance_id=run_of(demo))
        assert source.resolve_outcome(wanted, now() + timedelta(hours=1)) is None
        asked_at = self.lose_the_answer(demo, wanted)
        for known in (wanted, order("restart-service", "mail")):
            done = self.settled(demo, source, known, asked_at)
            assert done is not None
            assert (done.outcome, done.effect["instanceId"]) == ("done", run_of(demo))

    def test_a_restart_is_not_seen_in_the_id_of_an_earlier_run(self, service: Upstream) -> None:
        """What Beacon knew last may be the run before this one: when it was started is what counts."""
        asked_at = now()
        service.json("/api/v1/jobs/counts", {"counts": {}})
        health = {"instanceId": "two", "startedAt": (asked_at - timedelta(minutes=5)).isoformat()}
        service.json("/api/v1/health", health)
        asking = PalantirSource(service.url, 10)
        assert asking.resolve_outcome(order("restart-service", "mail", instance_id="one"), asked_at) is None
        service.json("/api/v1/health", {"instanceId": "two"})
        told = asking.resolve_outcome(order("restart-service", "mail", instance_id="one"), asked_at)
        assert told is not None, "without a time the id is all there is"

    def test_a_job_that_vanished_otherwise_is_absent(self, demo: DemoService, source: PalantirSource) -> None:
        demo.create_job(id="a", state="queued")
        demo.lose()
        done = source.resolve_outcome(order("delete-job", "a"), now())
        assert done is not None
        assert done.outcome == "absent"

    def test_a_service_whose_clock_is_ahead_does_not_look_as_if_it_had_done_it(self, service: Upstream) -> None:
        asked_at, theirs = now(), now() + timedelta(hours=2)
        job = {"id": "a", "state": "failed", "enqueuedAt": (theirs - timedelta(minutes=1)).isoformat()}
        service.json("/api/v1/jobs/a", job)

        def counts(request: Any) -> None:
            as_of = now() + timedelta(hours=2)
            send(request, json.dumps({"counts": {}, "asOf": as_of.isoformat()}).encode())

        service.answers["/api/v1/jobs/counts"] = counts
        assert PalantirSource(service.url, 10).resolve_outcome(order("retry-job", "a"), asked_at) is None


class TestSelect:
    def test_a_filter_is_counted_in_full_and_named_up_to_the_limit(
        self, demo: DemoService, source: PalantirSource
    ) -> None:
        demo.create_jobs(*({"id": f"m{n}", "queue": "mail", "state": "failed"} for n in range(5)))
        demo.create_jobs({"id": "p", "queue": "print", "state": "failed"}, {"id": "q", "queue": "mail"})
        found = source.select(JobFilter("failed", "mail"), 2)
        assert (found.total, found.job_ids) == (5, ("m0", "m1"))
        assert source.select(JobFilter("failed"), 100).total == 6
        assert source.select(JobFilter("failed", "mail"), 0).job_ids == ()

    def test_an_age_counts_from_when_the_job_came_into_its_state(
        self, demo: DemoService, source: PalantirSource
    ) -> None:
        demo.create_jobs({"id": "old", "state": "failed", "ageS": 7200}, {"id": "new", "state": "failed"})
        found = source.select(JobFilter("failed", older_than=now() - timedelta(hours=1)), 10)
        assert found.job_ids == ("old",)

"""What each kind of source tells of a job, compared with what the app recorded; what it cannot tell has a reason."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from rq import Retry
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from app.infra.clock import utc_text
from app.search.service_lookup import AskableService, ask_services
from app.sources.celery import KIND as CELERY
from app.sources.celery.celery_source import CelerySource
from app.sources.protocol import MAX_TRACEBACK_BYTES, JobDetail, ServiceAddress
from app.sources.rq import job_facts
from app.sources.rq.job_facts import FUNCTION_NOT_TOLD
from tests.services import rq_tasks
from tests.services.celery_scene import TASKS, Fleet
from tests.services.rq_scene import Scene
from tests.services.valkey import Valkey
from tests.support.machine import scaled
from tests.support.waiting import wait_for

SEND = "tests.services.rq_tasks.send_mail"


@pytest.fixture(scope="module")
def rq_scene() -> Iterator[Scene]:
    with Scene() as made:
        with made.redis.pipeline() as pipe:  # RQ needs a second connection for dependencies: it is not left by a test
            pipe.watch("none")
            made.redis.ping()
        yield made


@pytest.fixture
def scene(rq_scene: Scene) -> Scene:
    rq_scene.redis.flushall()
    return rq_scene


def told(scene: Scene, job_id: str, **options: Any) -> JobDetail:
    source = scene.source(**options)
    detail, facts = source.detail(job_id), source.read_facts([job_id, "never-there"])
    source.close()
    assert detail is not None
    assert list(facts) == [job_id]
    for name in ("job", "function", "error", "worker", "ended_at", "not_told"):
        assert getattr(facts[job_id], name) == getattr(detail, name)
    return detail


class TestRq:
    def test_a_failed_job_has_every_fact_that_rq_recorded(self, scene: Scene) -> None:
        scene.queue().enqueue(SEND, 17, to="anna", password="x", job_id="a")
        scene.work(name="worker-7")
        recorded, detail = RqJob.fetch("a", connection=scene.redis), told(scene, "a")
        assert (detail.function, detail.job.state, detail.job.queue) == (recorded.func_name, "failed", "mail")
        for mine, its in (
            (detail.enqueued_at, recorded.enqueued_at),
            (detail.started_at, recorded.started_at),
            (detail.ended_at, recorded.ended_at),
        ):
            assert mine is not None
            assert its is not None
            assert utc_text(mine) == utc_text(its)
        assert detail.worker == "worker-7"
        assert detail.error is not None
        assert (detail.error.type, detail.error.message) == ("ConnectionError", "order 17 to anna")
        assert detail.error.frame is not None
        assert detail.error.frame.place == "tests/services/rq_tasks.py in deliver"
        assert detail.traceback == recorded.latest_result().exc_string
        assert (detail.arguments, detail.not_told) == (None, {})

    @pytest.mark.parametrize(
        ("show", "shown"),
        [("all", "17, password=(hidden), to='anna'"), (["to"], "…, password=…, to='anna'"), ("none", None)],
    )
    def test_arguments_are_shown_as_the_service_allows(self, scene: Scene, show: object, shown: str | None) -> None:
        scene.queue().enqueue(SEND, 17, to="anna", password="x", job_id="a")
        assert told(scene, "a", show_arguments=show).arguments == shown

    def test_a_call_in_json_is_read_whatever_describes_it(self, scene: Scene) -> None:
        queue = type(scene.queue())("mail", connection=scene.redis, serializer=JSONSerializer)
        queue.enqueue(SEND, 17, to="anna", job_id="a", description="the mail of anna")
        detail = told(scene, "a", show_arguments="all")
        assert (detail.function, detail.arguments, detail.not_told) == (SEND, '17, to="anna"', {})
        assert detail.description == "the mail of anna"

    def test_a_pickle_is_never_opened(self, scene: Scene) -> None:
        scene.queue().enqueue(SEND, 17, job_id="a", description="the mail of anna")
        detail = told(scene, "a", show_arguments="all")
        assert (detail.function, detail.arguments) == (None, None)
        assert detail.not_told == {"function": FUNCTION_NOT_TOLD}

    def test_of_retries_only_those_that_are_left_are_known(self, scene: Scene) -> None:
        scene.queue().enqueue(SEND, 17, job_id="a", retry=Retry(max=3))
        detail = told(scene, "a")
        assert detail.job.attempt is None
        assert detail.not_told["attempt"] == "RQ stores only how many retries are left: 3"

    def test_jobs_name_those_that_they_depend_on_and_those_that_wait_for_them(self, scene: Scene) -> None:
        queue = scene.queue()
        first = queue.enqueue(rq_tasks.add, 1, 2, job_id="first")
        queue.enqueue(rq_tasks.add, 3, 4, job_id="second", depends_on=first)
        assert told(scene, "first").dependents == ("second",)
        assert told(scene, "second").depends_on == ("first",)

    def test_a_search_finds_a_finished_job_that_only_its_service_knows(self, scene: Scene) -> None:
        scene.queue().enqueue(rq_tasks.add, 1, 2, job_id="sum-1")
        scene.work()
        found = ask_services([AskableService("mail", scene.source)], "sum-1", time.monotonic() + scaled(5))
        assert [(hit.id, hit.state, hit.facts["function"]) for hit in found.hits] == [
            ("sum-1", "finished", "tests.services.rq_tasks.add")
        ]
        assert ask_services([AskableService("mail", scene.source)], "sum-2", time.monotonic() + scaled(5)).hits == []

    def test_a_job_that_expires_while_it_is_read_has_no_facts(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for job_id in ("kept", "short"):
            scene.queue().enqueue(SEND, 17, job_id=job_id)
        scene.work()
        read_errors = job_facts._read_errors

        def expire_first(*arguments: Any) -> dict[str, str]:
            scene.redis.delete("rq:job:short", "rq:results:short")
            return read_errors(*arguments)

        monkeypatch.setattr(job_facts, "_read_errors", expire_first)
        source = scene.source()
        assert list(source.read_facts(["kept", "short"])) == ["kept"]
        source.close()

    def test_a_traceback_is_cut_at_its_beginning(self, scene: Scene) -> None:
        scene.queue().enqueue("exec", f"raise LookupError('x' * {2 * MAX_TRACEBACK_BYTES} + 'end')", job_id="a")
        scene.work()
        detail = told(scene, "a")
        assert detail.traceback is not None
        assert (len(detail.traceback), detail.is_traceback_cut) == (MAX_TRACEBACK_BYTES, True)
        assert detail.traceback.rstrip().endswith("end")
        assert detail.error is not None
        assert detail.error.type == "LookupError"


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with Valkey() as running:
        yield running


def celery(valkey: Valkey, **options: Any) -> CelerySource:
    made = CELERY.build(
        ServiceAddress(valkey.url), CELERY.options(inspect=False, result_backend=True, **options), 10_000
    )
    assert isinstance(made, CelerySource)
    return made


@pytest.mark.parametrize("extended", [True, False])
def test_a_failed_task_has_every_fact_of_its_result_and_what_is_missing_has_a_reason(
    valkey: Valkey, extended: bool
) -> None:
    fleet, source = Fleet(valkey, extended=extended), celery(valkey, show_arguments="all")
    try:
        task = fleet.send("send_mail", 17, kwargs={"to": "anna", "password": "x"})
        waiting = source.detail(task)
        assert waiting is not None
        assert (waiting.function, waiting.job.state, waiting.job.attempt) == (f"{TASKS}.send_mail", "queued", 1)
        assert waiting.arguments == "17, to='anna', password=(hidden)"
        assert waiting.related == {"root": task}
        worker = fleet.worker(pool="solo")
        wait_for(lambda: task in source.read_facts([task]), "the task to end", 20)
        facts, detail = source.read_facts([task])[task], source.detail(task)
        assert detail is not None
        for known in (facts, detail):
            assert known.job.state == "failed"
            assert known.ended_at is not None
            assert known.error is not None
            assert (known.error.type, known.error.message) == ("ConnectionError", "order 17 to anna")
            assert known.error.frame is not None
            assert known.error.frame.place == "tests/services/celery_tasks.py in send_mail"
            assert known.not_told["enqueuedAt"]
        assert detail.traceback is not None
        assert detail.traceback.startswith("Traceback (most recent call last):")
        if extended:
            assert (detail.function, detail.worker, detail.job.attempt) == (f"{TASKS}.send_mail", worker.name, 1)
            assert detail.arguments == '17, to="anna", password=(hidden)'
            assert "function" not in detail.not_told
        else:
            assert (detail.function, detail.arguments) == (None, None)
            assert detail.not_told["function"] == "Celery records it only with result_extended"
    finally:
        source.close()
        fleet.close()

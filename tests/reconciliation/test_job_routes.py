"""Jobs over the API: pages of what is known, both sides of one job, and stuck jobs as the service says them."""

import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from app.db import write
from app.eventlog import reader
from app.eventlog.append import NewEvent
from app.reconciliation import job_queries, registry
from app.reconciliation.models import KnownJob
from app.sources import on_demand
from app.sources.on_demand import TooManyRequests, TooSlow, query_source
from app.sources.protocol import Source, SourceError
from app.web.jobs import job_report
from tests.reconciliation.desk import SERVICE, Desk, Script
from tests.reconciliation.values import look
from tests.support.cast import ALICE, BOB, headers_of, publish
from tests.support.demo_service import DemoService, start_demo
from tests.support.machine import scaled


def get(app: Flask, path: str, **query: Any) -> TestResponse:
    return app.test_client().get(path, query_string=query or None, headers=headers_of(app, ALICE, "read"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoService]:
    running = start_demo(tmp_path_factory.mktemp("demo"))
    yield running
    running.stop()


@pytest.fixture
def watching(believing: Flask, demo: DemoService) -> Flask:
    """Mail is the demo service, which was looked at once."""
    demo.reset()
    with believing.app_context(), write() as session:
        registry.put(session, id=SERVICE, name="Mail", kind="palantir", url=demo.url)
    return believing


@pytest.fixture
def crowd(believing: Flask, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """Fifty jobs, every fifth of them running, looked for in windows of seven."""
    monkeypatch.setattr(job_queries, "JOBS_PER_WINDOW", 7)
    with believing.app_context(), write() as session:
        rows = [
            {"service_id": SERVICE, "job_id": f"j{n:02}", "state": "queued" if n % 5 else "running"} for n in range(50)
        ]
        session.execute(sa.insert(KnownJob), rows)
    return believing


@pytest.mark.parametrize(
    ("state", "limit", "count"), [("", 8, 50), ("running", 3, 10), ("running", 100, 10), ("x", 5, 0)]
)
def test_pages_by_key_hold_every_job_once_and_in_order(crowd: Flask, state: str, limit: int, count: int) -> None:
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        body = get(crowd, f"/services/{SERVICE}/jobs", state=state, limit=limit, after=after).get_json()
        assert len(body["data"]) <= limit
        assert {row["state"] for row in body["data"]} <= ({state} if state else {"queued", "running"})
        found += [row["id"] for row in body["data"]]
        after = body["meta"]["next"]
    assert found == sorted(set(found))
    assert len(found) == count


def test_a_page_says_when_its_jobs_were_seen_and_what_the_service_counts(desk: Desk, believing: Flask) -> None:
    desk.observe(look(queued=["a", "b"], succeeded=["c"]))
    desk.observe(look(queued=["a"], succeeded=["c"]))
    body = get(believing, f"/services/{SERVICE}/jobs").get_json()
    assert [row["id"] for row in body["data"]] == ["a"]
    assert body["meta"]["asOf"] == desk.state.heard_at == body["data"][0]["seenAt"]
    assert (body["meta"]["counts"]["queued"], body["meta"]["counts"]["succeeded"]) == (1, 1)
    assert body["meta"]["countsOnly"] is False


@pytest.mark.parametrize(("name", "value"), [("limit", "0"), ("limit", "1001"), ("limit", "x"), ("after", "x" * 1_001)])
def test_a_bad_page_is_named(believing: Flask, name: str, value: str) -> None:
    answer = get(believing, f"/services/{SERVICE}/jobs", **{name: value})
    assert (answer.status_code, list(answer.get_json()["errors"])) == (400, [name])


@pytest.mark.parametrize(
    "path", ["/services/nowhere/jobs", "/services/nowhere/jobs/a", "/api/jobs/stuck?service=nowhere"]
)
def test_an_unknown_service_is_not_found(believing: Flask, path: str) -> None:
    assert get(believing, path).status_code == 404


def test_one_job_is_told_from_both_sides_each_with_its_time(watching: Flask, demo: DemoService) -> None:
    demo.create_jobs({"id": "job-1", "queue": "out", "state": "running"})
    with watching.app_context():
        desk = Desk()
        desk.observe(look(running=["job-1"]))
        heard_at = desk.state.heard_at
    publish(watching, NewEvent("job.started", {"service": SERVICE, "jobId": "job-1"}))
    publish(watching, NewEvent("job.started", {"service": SERVICE, "jobId": "b"}))
    publish(watching, NewEvent("job.failed", {"service": SERVICE, "jobId": "job-1"}, "role:operator"))
    body = get(watching, f"/services/{SERVICE}/jobs/job-1").get_json()
    assert (body["known"]["state"], body["known"]["seenAt"]) == ("running", heard_at)
    assert (body["reported"]["state"], body["reported"]["queue"]) == ("running", "out")
    assert (body["reason"], body["openItems"], body["eventsSince"]) == (None, [], None)
    assert body["reportedAt"] > heard_at
    assert [event["type"] for event in body["events"]] == ["job.started"], "what is for operators is not for a viewer"
    as_bob = watching.test_client().get(f"/services/{SERVICE}/jobs/job-1", headers=headers_of(watching, BOB, "read"))
    assert [event["type"] for event in as_bob.get_json()["events"]] == ["job.failed", "job.started"]


def test_a_missing_job_is_told_with_its_open_item_and_what_the_service_says(desk: Desk, watching: Flask) -> None:
    desk.observe(look(queued=["a", "b"]))
    desk.observe(look(queued=["a"]))
    body = get(watching, f"/services/{SERVICE}/jobs/b").get_json()
    assert (body["known"], body["reported"]) == (None, None)
    assert body["reason"] == "the service does not know this job"
    [item] = body["openItems"]
    assert (item["kind"], item["lastState"]) == ("missing", "queued")
    assert [(entry["what"], entry["source"]) for entry in body["timeline"]] == [("Declared missing", "beacon")]
    because = body["because"]
    assert because["verdict"] == "missing"
    assert [condition["held"] for condition in because["conditions"]] == [True] * 5


def test_of_a_silent_service_nothing_is_made_up(desk: Desk, believing: Flask) -> None:
    desk.observe(look(queued=["a//b"]))
    body = get(believing, f"/services/{SERVICE}/jobs/{quote('a//b', safe='')}").get_json()
    assert body["known"]["state"] == "queued"
    assert (body["reported"], body["reason"]) == (None, "the service refused the connection")
    assert get(believing, f"/services/{SERVICE}/jobs/nobody").get_json()["known"] is None


def test_a_job_that_neither_side_knows_is_not_found(watching: Flask) -> None:
    assert get(watching, f"/services/{SERVICE}/jobs/nobody").status_code == 404


@pytest.mark.parametrize("job_id", ["x" * 1_001, "a%00b", "a%7fb"])
def test_an_id_that_no_job_can_have_is_bad_input(believing: Flask, job_id: str) -> None:
    answer = get(believing, f"/services/{SERVICE}/jobs/{job_id}")
    assert (answer.status_code, list(answer.get_json()["errors"])) == (400, ["jobId"])


def test_the_log_is_read_back_to_a_bound_that_is_told(believing: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "IDS_PER_WINDOW", 2)
    monkeypatch.setattr(job_queries, "MAX_EVENT_WINDOWS", 2)
    publish(believing, NewEvent("job.queued", {"service": SERVICE, "jobId": "a"}))
    publish(believing, *(NewEvent("job.started", {"service": SERVICE, "jobId": "é"}) for _ in range(4)))
    assert get(believing, f"/services/{SERVICE}/jobs/a").get_json()["events"] == []
    body = get(believing, f"/services/{SERVICE}/jobs/é").get_json()
    assert len(body["events"]) == 4
    assert body["eventsSince"] is not None


def test_stuck_jobs_are_those_that_the_service_names(watching: Flask, demo: DemoService) -> None:
    demo.create_jobs({"id": "slow", "state": "running", "ageS": 9_000}, {"id": "quick", "state": "running"})
    body = get(watching, "/api/jobs/stuck").get_json()
    assert (body["service"], [job["id"] for job in body["jobs"]]) == (SERVICE, ["slow"])
    assert "running for more than" in body["jobs"][0]["reason"]
    assert get(watching, "/api/jobs/stuck", service=SERVICE).get_json()["jobs"] == body["jobs"]


def test_with_several_services_one_has_to_be_named(believing: Flask) -> None:
    with believing.app_context(), write() as session:
        registry.add(session, id="post", name="Post", kind="palantir", url="http://127.0.0.1:1")
    answer = get(believing, "/api/jobs/stuck")
    assert (answer.status_code, answer.get_json()["detail"]) == (400, "service: expected one of mail, post")


def test_a_service_that_refuses_is_a_bad_gateway_with_its_reason(believing: Flask) -> None:
    answer = get(believing, "/api/jobs/stuck")
    assert (answer.status_code, answer.get_json()["reason"]) == (502, "refused the connection")


def test_a_service_that_hangs_is_given_up_at_the_deadline(
    watching: Flask, demo: DemoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_report, "REQUEST_TIMEOUT_S", 0.3)
    demo.fault("hang")
    try:
        answer = get(watching, "/api/jobs/stuck")
        assert (answer.status_code, answer.get_json()["reason"]) == (504, "did not answer within 0.3 s")
        one = get(watching, f"/services/{SERVICE}/jobs/a").get_json()
        assert (one["reported"], one["reason"]) == (None, "the service did not answer within 0.3 s")
    finally:
        demo.fault("none")


class Closing(Script):
    """Says whether it was closed, and holds whoever asks it until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.closed, self.go = threading.Event(), threading.Event()

    def wait(self) -> str:
        assert self.go.wait(scaled(20))
        return "answered"

    def close(self) -> None:
        self.closed.set()


def waiting(source: Closing) -> str:
    return source.wait()


def test_a_source_is_closed_after_its_answer_an_error_and_a_late_end() -> None:
    quick, failing, late = Closing(), Closing(), Closing()
    quick.go.set()
    assert query_source(lambda: quick, waiting) == "answered"  # type: ignore[arg-type, return-value]
    with pytest.raises(SourceError, match="could not handle"):
        query_source(lambda: failing, lambda source: 1 / 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(TooSlow, match="did not answer within"):
        query_source(lambda: late, waiting, 0.05)  # type: ignore[arg-type, return-value]
    assert not late.closed.is_set()
    late.go.set()
    assert all(source.closed.wait(scaled(20)) for source in (quick, failing, late))


def test_questions_that_hang_are_bounded_and_more_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_demand, "_request_slots", threading.BoundedSemaphore(2))
    stuck = [Closing(), Closing()]
    for source in stuck:
        with pytest.raises(TooSlow):
            query_source(lambda source=source: source, waiting, 0.05)  # type: ignore[misc]
    began = time.monotonic()
    with pytest.raises(TooManyRequests):
        query_source(lambda: _never(), waiting)
    assert time.monotonic() - began < scaled(3)
    for source in stuck:
        source.go.set()
    assert all(source.closed.wait(scaled(20)) for source in stuck)


def _never() -> Source:
    raise AssertionError("asked although there was no place")


def test_a_question_that_is_one_too_many_comes_back_later(believing: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_demand, "_request_slots", threading.BoundedSemaphore(1))
    assert on_demand._request_slots.acquire()
    answer = get(believing, "/api/jobs/stuck")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1

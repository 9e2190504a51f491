"""The Palantir API as a source: what is read, in which order, within which bounds, and what is refused."""

import json
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.infra.clock import parse_utc, utc_now, utc_text
from app.sources.http_client import HttpClient
from app.sources.palantir.api import is_finished, sort_by_flow
from app.sources.palantir.palantir_source import PalantirSource
from app.sources.protocol import JobLookup, SourceError
from tests.sources.palantir.answers import serve_palantir
from tests.sources.upstream import Upstream, query, send
from tests.support.machine import scaled

JOBS = {"queued": ["q1", "q2"], "running": ["r1"], "succeeded": ["s1"], "failed": ["f1"]}


def source(service: Upstream, bound: int = 10_000, **options: Any) -> PalantirSource:
    return PalantirSource(service.url, bound, **options)


def states_read(service: Upstream) -> list[str]:
    asked = [urlsplit(path) for path in service.asked]
    return [parse_qs(path.query)["state"][0] for path in asked if path.path == "/api/v1/jobs"]


def test_a_look_holds_counts_jobs_and_which_moment_they_belong_to(service: Upstream) -> None:
    serve_palantir(service, JOBS)
    began = parse_utc(utc_text())  # to the millisecond, as the service tells it
    look = source(service).read_snapshot()
    assert look.counts == {"queued": 2, "running": 1, "succeeded": 1, "failed": 1}
    assert {listing.state: set(listing.jobs) for listing in look.listings} == {k: set(v) for k, v in JOBS.items()}
    assert (look.instance_id, look.revision, look.one_revision) == ("one", "7", True)
    assert look.as_of is not None
    assert began <= look.as_of <= utc_now()
    assert look.listings[0].jobs["q1"].queue == "mail"


def test_scheduled_jobs_whose_time_is_over_by_a_minute_are_overdue(service: Upstream) -> None:
    serve_palantir(service, {"scheduled": ["late", "later", "soon", "moved", "odd", "plain"], "queued": ["moved"]})
    now = utc_now()
    times = {
        "late": utc_text(now - timedelta(seconds=90)),
        "later": utc_text(now - timedelta(seconds=600)),
        "soon": utc_text(now - timedelta(seconds=30)),
        "moved": utc_text(now - timedelta(seconds=600)),
        "odd": "tomorrow",
    }
    rows = [{"id": job_id, "state": "scheduled", "scheduledFor": at} for job_id, at in times.items()]
    listing = service.answers["/api/v1/jobs"]

    def answer(request: BaseHTTPRequestHandler) -> None:
        if query(request)["state"] != "scheduled":
            return listing(request)
        body = {"jobs": [*rows, {"id": "plain", "state": "scheduled"}], "revision": 7}
        return send(request, json.dumps(body).encode())

    service.answers["/api/v1/jobs"] = answer
    look = source(service).read_snapshot()
    [found] = look.anomalies
    assert (found.kind, found.job_ids) == ("overdue", ("late", "later"))
    assert found.note == f"the oldest was due at {now - timedelta(seconds=600):%Y-%m-%d %H:%M:%S} UTC"
    assert {"odd", "plain"} <= look.listings[0].jobs.keys()


def test_a_job_whose_list_is_cut_is_not_said_to_be_overdue(service: Upstream) -> None:
    serve_palantir(service, {"scheduled": ["a", "b"]})
    service.json("/api/v1/jobs", {"jobs": [{"id": "a", "state": "scheduled", "scheduledFor": "2026-01-01T00:00:00Z"}]})
    assert source(service, bound=1).read_snapshot().anomalies == ()


def test_unfinished_states_are_read_first_as_jobs_flow(service: Upstream) -> None:
    serve_palantir(service, {"failed": [], "succeeded": [], "paused": [], "running": [], "scheduled": [], "queued": []})
    look = source(service).read_snapshot()
    assert states_read(service) == ["scheduled", "queued", "running", "paused", "failed", "succeeded"]
    assert [listing.finished for listing in look.listings] == [False] * 4 + [True] * 2


def test_queued_and_running_are_read_even_where_the_counts_leave_them_out() -> None:
    assert sort_by_flow(["succeeded"]) == ["queued", "running", "succeeded"]


@pytest.mark.parametrize(
    ("state", "finished"),
    [
        *((word, True) for word in ("succeeded", "failed", "done", "deleted", "cancelled", "purged", "Failed")),
        *((word, False) for word in ("queued", "running", "scheduled", "retrying", "deferred", "never-heard-of")),
    ],
)
def test_what_is_not_known_as_finished_is_unfinished(state: str, finished: bool) -> None:
    assert is_finished(state) is finished


def test_a_list_is_read_page_by_page_to_its_end(service: Upstream) -> None:
    ids = [f"j{n:05}" for n in range(2_500)]
    serve_palantir(service, {"queued": ids})
    look = source(service).read_snapshot()
    assert set(look.listings[0].jobs) == set(ids)
    assert states_read(service).count("queued") == 3


def test_beyond_the_bound_only_the_count_is_known(service: Upstream) -> None:
    serve_palantir(service, {"queued": [f"j{n:05}" for n in range(2_500)], "running": ["r1"]})
    queued, running = source(service, bound=1_500).read_snapshot().listings
    assert (queued.complete, len(queued.jobs)) == (False, 0)
    assert (running.complete, set(running.jobs)) == (True, {"r1"})


def test_the_bound_is_one_of_all_states_and_a_full_one_hides_none_of_the_others(service: Upstream) -> None:
    jobs = {"queued": ["q1", "q2", "q3", "q4"], "running": ["r1"], "succeeded": ["s1", "s2"], "failed": ["f1"]}
    serve_palantir(service, jobs)
    listed = {one.state: one.complete for one in source(service, bound=3).read_snapshot().listings}
    assert listed == {"queued": False, "running": True, "failed": True, "succeeded": False}
    assert states_read(service) == ["running", "failed"]


def test_exactly_the_bound_is_still_a_complete_list(service: Upstream) -> None:
    serve_palantir(service, {"queued": ["a", "b", "c"]})
    assert source(service, bound=3).read_snapshot().listings[0].complete
    assert not source(service, bound=2).read_snapshot().listings[0].complete


def test_lists_of_another_revision_than_the_counts_are_not_one_revision(service: Upstream) -> None:
    serve_palantir(service, JOBS)
    service.json("/api/v1/jobs/counts", {"counts": {"queued": 2}, "revision": 6})
    assert not source(service).read_snapshot().one_revision


def test_without_revisions_nothing_is_one_revision(service: Upstream) -> None:
    serve_palantir(service, JOBS, revision=None)
    assert not source(service).read_snapshot().one_revision


GARBAGE: list[tuple[str, object]] = [
    ("/api/v1/health", []),
    ("/api/v1/jobs/counts", {}),
    ("/api/v1/jobs/counts", {"counts": {"queued": -1}}),
    ("/api/v1/jobs/counts", {"counts": {"queued": 1.5}}),
    ("/api/v1/jobs/counts", {"counts": {"queued": "many"}}),
    ("/api/v1/jobs/counts", {"counts": {"que\nued": 1}}),
    ("/api/v1/jobs/counts", {"counts": {f"s{n}": 1 for n in range(50)}}),
    ("/api/v1/jobs/counts", {"counts": {}, "asOf": "yesterday"}),
    ("/api/v1/jobs/counts", {"counts": {}, "asOf": "2026-11-21T12:00:00"}),
    ("/api/v1/jobs/counts", {"counts": {}, "asOf": "9999-12-31T23:59:59-14:00"}),
    ("/api/v1/jobs", {"jobs": "none"}),
    ("/api/v1/jobs", {"jobs": [{"id": 7, "state": "queued"}]}),
    ("/api/v1/jobs", {"jobs": [7]}),
    ("/api/v1/jobs", {"jobs": [{"id": "j", "state": "queued"}] * 1_001}),
]


@pytest.mark.parametrize(("path", "body"), GARBAGE)
def test_an_answer_of_another_shape_is_refused_in_words(service: Upstream, path: str, body: object) -> None:
    serve_palantir(service, JOBS)
    service.json(path, body)
    with pytest.raises(SourceError, match="answered something other than the Palantir API: "):
        source(service).read_snapshot()


def test_a_list_without_an_end_is_refused(service: Upstream) -> None:
    serve_palantir(service, JOBS)
    service.json("/api/v1/jobs", {"jobs": [{"id": "a", "state": "queued"}], "next": "a"})
    with pytest.raises(SourceError, match="does not end"):
        source(service).read_snapshot()


def test_many_slow_answers_together_are_bounded_too(service: Upstream) -> None:
    serve_palantir(service, JOBS)
    fast = service.answers["/api/v1/jobs"]

    def slowly(request: Any) -> None:
        time.sleep(0.2)
        fast(request)

    service.answers["/api/v1/jobs"] = slowly
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"did not (finish answering|answer) within"):
        source(service, read_timeout_s=0.5).read_snapshot()
    assert time.monotonic() - began < scaled(2.5)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, {"id": "a/b", "state": "running", "queue": "mail"}, "found"),
        (200, {"id": "a/b", "state": "succeeded"}, "finished"),
        (410, {"id": "a/b", "state": "purged"}, "finished"),
        (404, {"error": "never"}, "unknown"),
        (404, [], "unknown"),
        (200, {"id": "another", "state": "running"}, "cannot-tell"),
        (200, {"id": "a/b"}, "cannot-tell"),
        (410, {}, "cannot-tell"),
        (500, {}, "cannot-tell"),
    ],
)
def test_a_look_up_says_what_became_of_a_job(service: Upstream, status: int, body: object, kind: str) -> None:
    service.json("/api/v1/jobs/a%2Fb", body, status)
    assert source(service).look_up("a/b").kind == kind


def test_a_look_up_that_is_not_answered_tells_nothing(service: Upstream) -> None:
    service.answers["/api/v1/jobs/a"] = lambda _: service.hold()
    asked = PalantirSource(service.url, 10, http=HttpClient(service.url, answer_s=0.2))
    assert asked.look_up("a") == JobLookup("cannot-tell")


def test_a_404_of_something_that_is_not_the_api_is_no_verdict(service: Upstream) -> None:
    """A proxy's error page must not make jobs missing."""
    service.raw("/api/v1/jobs/a", b"<h1>Not Found</h1>", 404)
    assert source(service).look_up("a").kind == "cannot-tell"

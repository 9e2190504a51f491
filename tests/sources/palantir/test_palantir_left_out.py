"""A row that cannot be read is counted by its place, and all others are heard."""

import json
from typing import Any

import pytest

from app.infra import concurrency
from app.sources.palantir import job_rows
from app.sources.palantir.api import PageAnswer, StuckAnswer, WholePageAnswer
from app.sources.palantir.palantir_source import PalantirSource
from app.sources.protocol import Job, LeftOut, SourceError
from tests.sources.palantir.answers import serve_palantir
from tests.sources.test_left_out import CONTROL, LONG, ODD
from tests.sources.upstream import Upstream

GOOD = {"id": "a", "state": "queued"}


@pytest.mark.parametrize(("job_id", "fault"), ODD)
def test_an_odd_id_costs_its_row(service: Upstream, job_id: str, fault: str) -> None:
    serve_palantir(service, {"queued": ["a", "b"], "running": ["r"]}, queued=3)
    service.json("/api/v1/jobs", page("a", job_id, "b"))
    queued, *_ = PalantirSource(service.url, 10).read_snapshot().listings
    assert queued.jobs == {job_id: Job(job_id, "queued") for job_id in ("a", "b")}
    assert (queued.complete, queued.left_out) == (True, LeftOut(1, f"entry 2 of queued: {fault}"))


def test_so_does_any_other_field_that_is_wrong(service: Upstream) -> None:
    serve_palantir(service, {"queued": []})
    rows = [{"id": "a", "state": "queued"}, {"id": "b", "state": "queued", "attempt": -1}, {"state": "queued"}, 7]
    service.json("/api/v1/jobs", {"jobs": rows})
    queued = PalantirSource(service.url, 10).read_snapshot().listings[0]
    assert list(queued.jobs) == ["a"]
    assert queued.left_out.number == 3
    assert queued.left_out.first.startswith("entry 2 of queued: attempt: ")


def test_rows_are_counted_through_all_pages_also_where_one_ends_with_an_odd_id(service: Upstream) -> None:
    ids = [f"j{n:05}" for n in range(1_500)]
    ids[999], ids[1_200] = f"{ids[999]}\n", f"{ids[1_200]}\x00"
    serve_palantir(service, {"queued": ids})
    queued = PalantirSource(service.url, 10_000).read_snapshot().listings[0]
    assert len(queued.jobs) == 1_498
    assert queued.left_out == LeftOut(2, f"entry 1,000 of queued: {CONTROL}")


@pytest.mark.parametrize("model", [PageAnswer, WholePageAnswer, StuckAnswer])
@pytest.mark.parametrize("rows", [[1] * 49_000, [GOOD] * 1_001, [{**GOOD, "state": -1}] * 9_000])
def test_a_list_that_is_too_long_is_refused_before_any_row_is_looked_at(
    model: Any, rows: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_rows, "_explain_fault", pytest.fail)
    with pytest.raises(SourceError, match="jobs: more than 1,000 in one answer"):
        job_rows.read_rows(model, json.dumps({"jobs": [*rows, GOOD]}).encode(), str)


def test_others_run_while_rows_are_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = []
    monkeypatch.setattr(concurrency, "yield_to_loop", lambda: pauses.append(1))
    body = json.dumps({"jobs": [*[{**GOOD, "state": -1}] * 999, GOOD]}).encode()
    answer, left_out = job_rows.read_rows(StuckAnswer, body, str)
    assert (len(answer.jobs), left_out.number) == (1, 999)
    assert len(pauses) >= 999 // concurrency.SLICE_ITEMS


def test_stuck_jobs_are_told_without_the_odd_one(service: Upstream) -> None:
    service.json("/api/v1/jobs/stuck", page("a", LONG))
    assert [one.job.id for one in PalantirSource(service.url, 10).stuck()] == ["a"]


def test_stuck_jobs_that_are_all_odd_are_not_none(service: Upstream) -> None:
    odd = page("a", "a\n")
    odd["jobs"][0]["attempt"] = -1
    service.json("/api/v1/jobs/stuck", odd)
    with pytest.raises(SourceError) as refused:
        PalantirSource(service.url, 10).stuck()
    assert refused.value.reason.startswith("lists 2 stuck jobs that Beacon cannot read; entry 1: attempt: ")


def page(*job_ids: str) -> dict[str, Any]:
    return {"jobs": [{"id": job_id, "state": "queued"} for job_id in job_ids], "revision": 7}


def test_a_queue_that_no_database_stores_costs_its_row(service: Upstream) -> None:
    serve_palantir(service, {"queued": ["a", "b"]}, queued=2)
    odd = page("a", "b")
    odd["jobs"][1]["queue"] = "mail\0"
    service.json("/api/v1/jobs", odd)
    queued, *_ = PalantirSource(service.url, 10).read_snapshot().listings
    assert list(queued.jobs) == ["a"]
    assert queued.left_out == LeftOut(1, "entry 2 of queued: its queue has a control character")


def test_what_the_service_says_of_itself_costs_no_job(service: Upstream) -> None:
    serve_palantir(service, {"queued": ["a"]})
    service.json("/api/v1/health", {"status": "o\0k", "instanceId": "one\n"})
    service.json("/api/v1/jobs/counts", {"counts": {"queued": 1}, "revision": "7\0"})
    found = PalantirSource(service.url, 10).read_snapshot()
    assert (found.health, found.instance_id, found.revision) == ("o\ufffdk", "one\ufffd", "7\ufffd")
    assert list(found.listings[0].jobs) == ["a"]

"""Answers of an HTTP service that are small in bytes and large in work: refused early, in a sentence, and forgotten."""

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.sources.palantir.api import CountsAnswer, PageAnswer, StuckAnswer, WholePageAnswer
from app.sources.palantir.palantir_source import PalantirSource
from app.sources.protocol import Operation, OutcomeUnknown, SourceError
from tests.sources.palantir.answers import serve_palantir
from tests.sources.upstream import Upstream
from tests.support.hostile_json import as_bytes, deep, many_items, many_keys
from tests.support.machine import scaled

ROOT = Path(__file__).resolve().parents[3]
MB = 1_000_000
TOO_MANY = "answered with more than 50,000 values"
BAD_JOBS = [{"id": None, "state": -1, "queue": [], "attempt": "x"}] * 1_000


def refusal(service: Upstream, path: str, body: bytes) -> str:
    """Why a look fails whose answer at `path` is this; it keeps nothing of it."""
    serve_palantir(service, {"queued": ["q1"]})
    service.raw(path, body)
    source = PalantirSource(service.url, 10_000)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError) as refused:
            source.read_snapshot()
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body) + 20 * MB
    finally:
        tracemalloc.stop()
        source.close()
    assert len(refused.value.reason) < 250
    assert refused.value.__cause__ is refused.value.__context__ is None, "a validator's error holds the whole answer"
    return refused.value.reason


@pytest.mark.parametrize("path", ["/api/v1/health", "/api/v1/jobs/counts", "/api/v1/jobs"])
@pytest.mark.parametrize(
    "make",
    [
        many_keys,
        lambda: {"counts": many_keys()},
        lambda: {"jobs": many_items({})},
        many_items,
        lambda: {"jobs": [many_keys()]},
    ],
    ids=["keys", "counts", "jobs", "items", "one job"],
)
def test_half_a_million_values_are_refused_by_their_number(
    service: Upstream, path: str, make: Callable[[], Any]
) -> None:
    assert refusal(service, path, as_bytes(make())) == TOO_MANY


@pytest.mark.parametrize("path", ["/api/v1/health", "/api/v1/jobs/counts", "/api/v1/jobs"])
def test_depth_is_bounded(service: Upstream, path: str) -> None:
    assert refusal(service, path, deep()) == "answered something that is not JSON"


def test_the_first_wrong_state_or_job_ends_the_reading(service: Upstream) -> None:
    counts = as_bytes({"counts": {f"b {n}": -1 for n in range(20_000)}})
    assert refusal(service, "/api/v1/jobs/counts", counts).endswith("counts: Value error, expected at most 40 states")
    jobs = as_bytes({"jobs": BAD_JOBS})
    assert "jobs.0.id: " in refusal(service, "/api/v1/jobs", jobs)


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (CountsAnswer, {"counts": {f"b {n}": -1 for n in range(20_000)}}),
        (CountsAnswer, {"counts": {f"b {n}": -1 for n in range(40)}}),
        (PageAnswer, {"jobs": BAD_JOBS}),
        (WholePageAnswer, {"jobs": BAD_JOBS}),
        (StuckAnswer, {"jobs": BAD_JOBS}),
    ],
)
def test_a_validator_keeps_few_errors(model: Any, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        model.model_validate_json(as_bytes(value))
    assert refused.value.error_count() <= 80


@pytest.mark.parametrize("make", [lambda: as_bytes(many_keys()), deep], ids=["keys", "depth"])
def test_one_job_is_bounded_too(service: Upstream, make: Callable[[], bytes]) -> None:
    service.raw("/api/v1/jobs/a", make())
    source = PalantirSource(service.url, 10_000)
    assert source.look_up("a").kind == "cannot-tell"
    with pytest.raises(SourceError):
        source.detail("a")
    source.close()


@pytest.mark.parametrize(("purged", "make_ids"), [(3, lambda: many_items("")), (1, lambda: ["", *["a"] * 9])])
def test_an_order_with_such_an_answer_may_have_been_carried_out(
    service: Upstream, purged: int, make_ids: Callable[[], list[str]]
) -> None:
    service.raw("/api/v1/queues/mail/purge", as_bytes({"purged": purged, "jobIds": make_ids()}))
    source = PalantirSource(service.url, 10_000)
    with pytest.raises(OutcomeUnknown):
        source.execute(Operation("purge-queue", "mail", "key"))
    source.close()


def test_a_page_with_long_tracebacks_is_read(service: Upstream) -> None:
    """Commas and brackets in texts are no values."""
    job = {"state": "queued", "error": "Traceback, [line, 1], {x}: " * 100}
    service_jobs = {"jobs": [{"id": f"j{n}", **job} for n in range(1_000)], "revision": 7}
    serve_palantir(service, {"queued": [f"j{n}" for n in range(1_000)]})
    service.json("/api/v1/jobs", service_jobs)
    source = PalantirSource(service.url, 10_000)
    assert len(source.read_snapshot().listings[0].jobs) == 1_000
    source.close()


def test_what_is_odd_or_long_in_a_text_costs_no_other_fact(service: Upstream) -> None:
    odd = "\ud83d\0 <b>x</b>\n"
    error = {"type": f"E{odd}", "message": f"M{odd}", "traceback": f"T{odd}" + "t" * MB}
    names = {"function": f"f{odd}" + "f" * MB, "worker": f"w{odd}" + "w" * MB}
    service.json("/api/v1/jobs/a", {"id": "a", "state": "failed", "attempt": 2, "error": error, **names})
    service.json("/api/v1/jobs/b", {"id": "b", "state": "failed", "error": f"E: {odd}"})
    source = PalantirSource(service.url, 10_000)
    found = source.read_facts(["a", "b"])
    source.close()
    assert (found["a"].job.attempt, len(found["a"].function or ""), len(found["a"].worker or "")) == (2, 500, 200)
    assert (found["a"].function or "").startswith("f\ufffd\ufffd <b>x</b>\ufffdf")
    for detail in found.values():
        f"{detail.error}{detail.traceback}{detail.worker}".encode()


def test_memory_comes_back(service: Upstream) -> None:
    """7 MB of keys that do not validate once took a gigabyte, and kept 200 MB of it."""
    serve_palantir(service, {})
    service.raw("/api/v1/jobs/counts", as_bytes({"counts": many_keys()}))
    command = [sys.executable, "-m", "tests.sources.palantir.hostile_look", service.url]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=scaled(60), check=True)
    told = json.loads(run.stdout)
    assert told["reason"] == TOO_MANY
    assert told["most"] < 100
    assert told["kept"] < 50

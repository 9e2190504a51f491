"""One entry that cannot be read costs that entry: it is counted by its place, with the limit, and all others are heard.

Each kind of source has its own lists; what is wrong with an id is the same for all.
"""

import json
from typing import Any

import pytest

from app.sources.celery.broker import Broker
from app.sources.palantir.palantir_source import PalantirSource
from app.sources.protocol import MAX_JOB_ID_BYTES, MAX_JOB_ID_CHARS, Job, LeftOut, find_job_id_fault
from app.sources.rq.placement import list_expected_ids, place_jobs
from app.sources.rq.responses import JobIds
from app.sources.rq.rq_snapshot import RqSnapshot, list_places
from tests.sources.upstream import Upstream, serve_palantir

LONG = "x" * (MAX_JOB_ID_CHARS + 1)
TOO_LONG, CONTROL = "its id has more than 1,000 characters", "its id has a control character"
ODD: list[tuple[str, str]] = [
    ("", "it has no id"),
    (LONG, TOO_LONG),
    ("a\nid: 7", CONTROL),
    ("a\x7f", CONTROL),
    ("日" * 667, "its id has more than 2,000 bytes"),
]


@pytest.mark.parametrize(("job_id", "fault"), [*ODD, ("a\x85", CONTROL)])
def test_the_limit_is_said(job_id: str, fault: str) -> None:
    assert find_job_id_fault(job_id) == fault


@pytest.mark.parametrize("job_id", ["a", "a b/c?d=é", "x" * 300, "x" * MAX_JOB_ID_CHARS, "日" * 666])
def test_an_id_within_the_limits_is_taken(job_id: str) -> None:
    assert find_job_id_fault(job_id) == ""
    assert len(job_id.encode()) <= MAX_JOB_ID_BYTES


class TestRq:
    def test_what_is_no_id_is_counted_and_the_first_is_named(self) -> None:
        found = JobIds("rq:queue:mail")
        found.add_entries([b"a", LONG.encode(), b"b", b"\xff", b"", b"c"])
        assert found.ids == ["a", "b", "c"]
        assert found.summary == LeftOut(3, f"entry 2 of rq:queue:mail: {TOO_LONG}")

    def test_bytes_that_are_no_text_are_named_as_such(self) -> None:
        found = JobIds("rq:queue:mail")
        found.add_entries([b"\xff"])
        assert found.summary.first == "entry 1 of rq:queue:mail: its id is not UTF-8"

    def test_places_of_entries_are_those_of_the_ids_that_are_left(self) -> None:
        """Of a registry whose first entries expire: the jobs of the others must exist."""
        found = JobIds("rq:failed:mail")
        found.add_entries([b"kept", b"\xff", b"expiring", b"\xff", b"must-exist"])
        [failed] = [place for place in list_places("mail") if place.state == "failed"]
        expiring = {failed: found.slice_of(1, 4)}
        snapshot = RqSnapshot(0.0, {failed: 5}, {failed: found.ids}, expiring, [], left_out={failed: found.summary})
        assert list(list_expected_ids(snapshot)) == [(failed, ["kept", "must-exist"])]
        [listing] = [one for one in place_jobs(snapshot, lambda: None).listings if one.state == "failed"]
        assert (len(listing.jobs), listing.left_out.number) == (3, 2)


class TestPalantir:
    @pytest.mark.parametrize(("job_id", "fault"), ODD)
    def test_an_odd_id_costs_its_row(self, service: Upstream, job_id: str, fault: str) -> None:
        serve_palantir(service, {"queued": ["a", "b"], "running": ["r"]}, queued=3)
        service.json("/api/v1/jobs", page("a", job_id, "b"))
        queued, *_ = PalantirSource(service.url, 10).read_snapshot().listings
        assert queued.jobs == {job_id: Job(job_id, "queued") for job_id in ("a", "b")}
        assert (queued.complete, queued.left_out) == (True, LeftOut(1, f"entry 2 of queued: {fault}"))

    def test_so_does_any_other_field_that_is_wrong(self, service: Upstream) -> None:
        serve_palantir(service, {"queued": []})
        rows = [{"id": "a", "state": "queued"}, {"id": "b", "state": "queued", "attempt": -1}, {"state": "queued"}, 7]
        service.json("/api/v1/jobs", {"jobs": rows})
        queued = PalantirSource(service.url, 10).read_snapshot().listings[0]
        assert list(queued.jobs) == ["a"]
        assert queued.left_out.number == 3
        assert queued.left_out.first.startswith("entry 2 of queued: attempt: ")

    def test_rows_are_counted_through_all_pages_also_where_one_ends_with_an_odd_id(self, service: Upstream) -> None:
        ids = [f"j{n:05}" for n in range(1_500)]
        ids[999], ids[1_200] = f"{ids[999]}\n", f"{ids[1_200]}\x00"
        serve_palantir(service, {"queued": ids})
        queued = PalantirSource(service.url, 10_000).read_snapshot().listings[0]
        assert len(queued.jobs) == 1_498
        assert queued.left_out == LeftOut(2, f"entry 1,000 of queued: {CONTROL}")

    def test_stuck_jobs_are_told_without_the_odd_one(self, service: Upstream) -> None:
        service.json("/api/v1/jobs/stuck", page("a", LONG))
        assert [one.job.id for one in PalantirSource(service.url, 10).stuck()] == ["a"]


class TestCelery:
    @pytest.mark.parametrize(
        ("entry", "fault"),
        [
            (b"no message at all", "it is not a task's message"),
            (b"[" * 100_000, "it is not a task's message"),
            (json.dumps({"headers": {"id": LONG}}).encode(), TOO_LONG),
            (json.dumps({"headers": {"id": "a\n"}}).encode(), CONTROL),
            (json.dumps({"headers": {"id": 7}}).encode(), "it has no id"),
        ],
    )
    def test_a_message_that_is_no_task_is_counted_by_its_place(self, entry: bytes, fault: str) -> None:
        good = json.dumps({"headers": {"id": "good"}, "properties": {"delivery_info": {"routing_key": "celery"}}})
        snapshot = Broker(["celery"], [0], "", "", 10).read_snapshot(Held([good.encode(), entry], {b"tag": entry}))
        assert list(snapshot.queued) == ["good"]
        assert snapshot.counts == {"queued": 2, "reserved": 1}
        # An entry of `unacked` holds the message in a list; this one is none.
        assert snapshot.left_out["queued"] == LeftOut(1, f"entry 2 of celery: {fault}")
        assert snapshot.left_out["reserved"].number == 1
        assert snapshot.left_out["reserved"].first.startswith("entry tag of unacked: ")


class Held:
    """Stands for a client of a Redis that holds these messages: what is asked in a pipeline is answered in order."""

    def __init__(self, queued: list[bytes], unacked: dict[bytes, bytes]) -> None:
        self._answers = {
            "llen": len(queued),
            "hlen": len(unacked),
            "lrange": queued,
            "hgetall": unacked,
            "zrange": [],
            "info": {},
            "time": (0, 0),
        }
        self._asked: list[Any] = []

    def pipeline(self, *, transaction: bool) -> "Held":
        self._asked = []
        return self

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self._asked.append(self._answers[name])

    def execute(self) -> list[Any]:
        return self._asked


def page(*job_ids: str) -> dict[str, Any]:
    return {"jobs": [{"id": job_id, "state": "queued"} for job_id in job_ids], "revision": 7}

"""Large sets: work in slices of so many jobs, growing with their number and no faster; nobody waits for all of it."""

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from app.db import db
from app.reconciliation import gc_control, row_writer
from app.reconciliation.known_state import KnownState
from app.reconciliation.reconcile import reconcile
from app.reconciliation.types import JOBS_PER_SLICE, CheckEvidence
from app.sources.protocol import Job, Listing, ServiceSnapshot
from tests.reconciliation.desk import Desk
from tests.reconciliation.values import at, heard, job, look

MANY = 4 * JOBS_PER_SLICE


def ids(number: int) -> list[str]:
    return [f"j{n:06}" for n in range(number)]


def known_of(number: int) -> KnownState:
    return KnownState({job_id: job(job_id) for job_id in ids(number)}, heard_at=at(0))


def cpu_s(number: int) -> float:
    """The least of three, because others use this machine too."""
    known, answer = known_of(number), heard(look(queued=ids(number)))
    taken = []
    for _ in range(3):
        began = time.thread_time()
        reconcile(known, answer, CheckEvidence("lookup"), at(6))
        taken.append(time.thread_time() - began)
    return min(taken)


class Looked(dict[str, Job]):
    """Jobs that know how often one of them was looked up since the last breath, and how often at most."""

    since = most = total = 0

    def __contains__(self, job_id: object) -> bool:
        self.note()
        return super().__contains__(job_id)

    def get(self, job_id: str, default: Any = None) -> Any:
        self.note()
        return super().get(job_id, default)

    def note(self) -> None:
        Looked.since, Looked.total = Looked.since + 1, Looked.total + 1
        Looked.most = max(Looked.most, Looked.since)


def looked_up(known: KnownState, first: ServiceSnapshot, second: ServiceSnapshot | None) -> tuple[int, int]:
    """How often jobs were looked up between two breaths at most, and altogether, while this was judged."""
    Looked.since = Looked.most = Looked.total = 0
    looks = [replace(look, listings=_counting(look.listings)) for look in (first, second) if look is not None]
    known = replace(known, jobs=Looked(known.jobs))
    evidence = CheckEvidence(3600.0, heard(looks[1], 6) if second else None)

    def breathe() -> None:
        Looked.since = 0

    reconcile(known, heard(looks[0]), evidence, at(6), breathe)
    return Looked.most, Looked.total


def _counting(listings: Sequence[Listing]) -> tuple[Listing, ...]:
    return tuple(replace(listing, jobs=Looked(listing.jobs)) for listing in listings)


@contextmanager
def transactions() -> Iterator[list[int]]:
    """How many rows each transaction wrote to known_job and open_item."""
    sizes: list[int] = [0]

    def count(_c: Any, _cursor: Any, statement: str, parameters: Any, _x: Any, many: bool) -> None:
        if statement.startswith(("INSERT INTO known_job", "INSERT INTO open_item")):
            sizes[-1] += len(parameters) if many else 1

    def begin(_connection: Any) -> None:
        sizes.append(0)

    sa.event.listen(db.engine, "before_cursor_execute", count)
    sa.event.listen(db.engine, "begin", begin)
    try:
        yield sizes
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", count)
        sa.event.remove(db.engine, "begin", begin)


def test_ten_times_the_jobs_cost_about_ten_times_as_much() -> None:
    assert cpu_s(20 * JOBS_PER_SLICE) < 40 * cpu_s(2 * JOBS_PER_SLICE)


SLICED = ids(20 * JOBS_PER_SLICE)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(look(queued=SLICED), None, id="unchanged"),
        pytest.param(look(), look(), id="all lost"),
        pytest.param(look(running=SLICED), None, id="all moved on"),
        pytest.param(look(queued=SLICED, running=SLICED), None, id="all in two lists"),
        pytest.param(look(queued=SLICED, succeeded=SLICED), None, id="all finished meanwhile"),
        pytest.param(look(), look(running=SLICED), id="all found later"),
    ],
)
def test_no_slice_holds_more_than_its_number_of_jobs(first: ServiceSnapshot, second: ServiceSnapshot | None) -> None:
    most, total = looked_up(known_of(len(SLICED)), first, second)
    a_job = 10  # some questions in each of four lists, and beside a second look
    assert most <= a_job * JOBS_PER_SLICE
    assert total >= len(SLICED)


def test_what_a_first_look_brings_is_written_in_short_transactions(desk: Desk) -> None:
    with transactions() as sizes:
        desk.observe(look(queued=ids(MANY)))
    assert (sum(sizes), max(sizes)) == (MANY, row_writer.MAX_ROWS_PER_WRITE)
    assert len(desk.known) == MANY
    assert (len(desk.events()), len(desk.record)) == (1, 1)


def test_a_great_loss_is_declared_in_short_transactions_and_told_once(desk: Desk) -> None:
    desk.source.capabilities = type(desk.source.capabilities)(3600.0)
    desk.observe(look(queued=ids(MANY)))
    with transactions() as sizes:
        desk.observe(look())
    assert (sum(sizes), max(sizes)) == (MANY, row_writer.MAX_ITEMS_PER_WRITE)
    assert (len(desk.items), desk.known) == (MANY, {})
    assert desk.told["discrepancyDetails"]["expected"] == MANY
    assert [row.status for row in desk.record] == ["verified", "discrepancy"]


def test_a_poller_that_ended_while_it_wrote_leaves_nothing_that_is_not_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.observe(look(queued=["a", "b"]))
    real, calls = row_writer.upsert_jobs, 0

    def dies_midway(*given: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        real(*given)

    monkeypatch.setattr(row_writer, "upsert_jobs", dies_midway)
    with pytest.raises(KeyboardInterrupt):
        desk.observe(look(queued=["a", *ids(MANY)], succeeded=["b"]))
    monkeypatch.setattr(row_writer, "upsert_jobs", real)
    desk.restart()
    assert {"a", "b"} < set(desk.known)
    desk.observe(look(queued=["a", *ids(MANY)], succeeded=["b"]))
    assert (desk.items, desk.told["status"], len(desk.known)) == ({}, "verified", MANY + 1)


def test_the_collector_waits_for_large_looks_only_and_never_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    with gc_control.pause_gc(gc_control.LARGE_JOB_COUNT - 1):
        assert gc.isenabled()
    with gc_control.pause_gc(gc_control.LARGE_JOB_COUNT):
        with gc_control.pause_gc(gc_control.LARGE_JOB_COUNT):
            assert not gc.isenabled()
        assert not gc.isenabled()
        monkeypatch.setattr(gc_control, "MAX_GC_PAUSE_S", -1.0)
    assert gc.isenabled()


def test_states_beyond_the_bound_are_named(desk: Desk) -> None:
    desk.observe(look(queued=["a"], succeeded=["b"], cut=["succeeded"]))
    assert desk.told["countsOnly"] == ["succeeded"]
    desk.observe(look(queued=["a"], succeeded=["b"]))
    assert "countsOnly" not in desk.told

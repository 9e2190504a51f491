"""Large sets: work grows with the number of jobs and no faster, and transactions do not grow with it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from app.db import db
from app.reconciliation import row_writer
from app.reconciliation.known_state import KnownState
from app.reconciliation.reconcile import reconcile
from app.reconciliation.types import CheckEvidence
from tests.reconciliation.desk import Desk
from tests.reconciliation.values import at, heard, job, look

MANY = 8_000


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
    assert cpu_s(40_000) < 40 * cpu_s(4_000)


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


def test_states_beyond_the_bound_are_named(desk: Desk) -> None:
    desk.observe(look(queued=["a"], succeeded=["b"], cut=["succeeded"]))
    assert desk.told["countsOnly"] == ["succeeded"]
    desk.observe(look(queued=["a"], succeeded=["b"]))
    assert "countsOnly" not in desk.told

"""From verdicts to the record: everything of one verdict in one commit under the lease, or nothing.

Where thousands of known jobs came or went, their rows are written beforehand in transactions of their own (`stage`),
because every other writer waits for each. What a process that ends in between leaves behind claims nothing: jobs that
were really seen, and fewer of those that are known to have finished.

Locks are taken in one order everywhere: lease row, state row, audit, event.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.db import write
from app.eventlog.append import append
from app.infra.clock import parse_utc, utc_text
from app.infra.lease import LeaseClaim
from app.reconciliation import flapping, reconcile, row_memory, row_writer
from app.reconciliation.loader import database_now, known_of
from app.reconciliation.models import ServiceState
from app.reconciliation.types import Belief, Heard, Item, Known, Verdict, slices

# Between two transactions of many: for those who wait to write.
TURN_S = 0.002
NO_ANSWER = "did not answer"


def record_check(claim: LeaseClaim, service_id: str, known: Known, version: int, verdict: Verdict, heard: Heard) -> int:
    """Write what a look that was answered changed; the version of the belief from now on.

    Raises `LeaseLost`, `rows.Outdated`, `rows.NotWatched`; then nothing is written of the verdict.
    """
    verdict = _stage(claim, service_id, version, verdict)
    with write() as session:
        claim.guard(session)
        row = row_writer.locked_state(session, service_id, version)
        if verdict.belief is not None:
            row_writer.forget_jobs(session, service_id, verdict.belief.gone)
            row_writer.put_jobs(session, service_id, verdict.belief, verdict.belief.put)
            row_writer.note_moment(row, heard)
            row_memory.note(row, verdict)
            row.log_cursor = max(row.log_cursor, known.log_cursor)
        row_writer.write_items(session, service_id, verdict.opened)
        row_writer.close_items(session, service_id, verdict.closed, verdict.at)
        row_writer.note_answer(row, verdict, heard.look)
        row.version += 1
        if verdict.changed or verdict.hushed or verdict.status == "stale":
            row_writer.write_sample(session, service_id, verdict, verdict.status, ok=True)
        if verdict.changed:
            append(session, [row_writer.tell(session, row, known, verdict)])
        return row.version


def _stage(claim: LeaseClaim, service_id: str, version: int, verdict: Verdict) -> Verdict:
    """The verdict, of which as much is left to write as fits into one short transaction.

    A job that was declared leaves the known ones in the transaction that opens its item: it is in one of both, always.
    """
    belief = verdict.belief
    if belief is None or len(belief.put) + len(belief.gone) + len(verdict.opened) <= row_writer.ROWS:
        return verdict
    declared = {item.job_id for item in verdict.opened if item.kind != "extra"}
    staging = _Staging(claim, service_id, version)
    staging.put(belief)
    staging.forget(job_id for job_id in belief.gone if job_id not in declared)
    staging.declare(verdict.opened)
    return replace(verdict, belief=replace(belief, put=(), gone=()), opened=(), closed=verdict.closed)


class _Staging:
    """Rows of one verdict in short transactions, each under the lease and at the version that was judged."""

    def __init__(self, claim: LeaseClaim, service_id: str, version: int) -> None:
        self._claim, self._service_id, self._version = claim, service_id, version

    def put(self, belief: Belief) -> None:
        for jobs in slices(belief.put, row_writer.ROWS):
            with self._turn() as session:
                row_writer.put_jobs(session, self._service_id, belief, jobs)

    def forget(self, job_ids: Iterable[str]) -> None:
        for ids in slices(job_ids, row_writer.ROWS):
            with self._turn() as session:
                row_writer.forget_jobs(session, self._service_id, ids)

    def declare(self, opened: Iterable[Item]) -> None:
        for items in slices(opened, row_writer.ITEMS):
            with self._turn() as session:
                row_writer.forget_jobs(
                    session, self._service_id, [item.job_id for item in items if item.kind != "extra"]
                )
                row_writer.write_items(session, self._service_id, items)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[Session]:
        with write() as session:
            self._claim.guard(session)
            row_writer.locked_state(session, self._service_id, self._version)
            yield session
        time.sleep(TURN_S)


def record_silence(
    claim: LeaseClaim, service_id: str, stale_after: timedelta, failure: tuple[str, int] | None, why: str = NO_ANSWER
) -> timedelta | None:
    """Write that a poll failed (`failure`: why, and how long was waited), or look at the silence only.

    `why` is told where no poll has failed. Returns how long it takes until the service counts as stale; None where it
    does already.
    """
    with write() as session:
        claim.guard(session)
        row = row_writer.locked_state(session, service_id)
        now = database_now(session)
        if failure is not None:
            _note_failure(row, now, *failure)
        silent_since = row.last_answer_at or row.failing_since
        if silent_since is None:
            return None
        left = parse_utc(silent_since) + stale_after - now
        known = known_of(session, service_id, row)
        verdict = reconcile.stale(known, row.waited_ms or 0, _reason(row) or why, now, _last_answer(row))
        is_stale = left <= timedelta(0)
        if failure is not None:
            row_writer.write_sample(session, service_id, verdict, "stale" if is_stale else row.status, ok=False)
        if is_stale:
            row.flapping_json = flapping.to_text(verdict.flaps)
        if is_stale and verdict.changed:
            row.version += 1
            append(session, [row_writer.tell(session, row, known, verdict)])
        return None if is_stale else left


def _last_answer(row: ServiceState) -> datetime | None:
    """Since when it has been silent; None where it was not asked in vain: then nobody knows that it is."""
    return parse_utc(row.last_answer_at or row.failing_since) if row.failing_since else None


def _reason(row: ServiceState) -> str | None:
    """Why the newest poll failed. That of a verdict which was answered says nothing of the silence since."""
    return row.reason if row.failing_since else None


def _note_failure(row: ServiceState, now: datetime, reason: str, waited_ms: int) -> None:
    row.last_poll_at = utc_text(now)
    row.failing_since = row.failing_since or row.last_poll_at
    row.reason, row.waited_ms = reason, waited_ms

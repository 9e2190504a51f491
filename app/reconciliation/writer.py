"""Records verdicts: everything of one verdict in one commit under the lease, or nothing.

If thousands of known jobs came or went, their rows are written first, in transactions of their own (`_stage`), because
every other writer waits for each. If the process dies in between, the rows left behind are still correct: jobs that
were really seen, and fewer of the jobs that have finished.

Locks are taken in the same order everywhere: lease row, state row, audit, event.
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
from app.reconciliation.current_status import NEVER_CHECKED_REASON, NOT_CHECKED_REASON
from app.reconciliation.known_state import KnownState, TrackedItem
from app.reconciliation.loader import database_now, load_known_state
from app.reconciliation.models import Service, ServiceState
from app.reconciliation.types import JobDiff, Observation, ServiceVerdict, iter_slices

# Pause between two of many transactions, so that other writers get their turn.
PAUSE_BETWEEN_WRITES_S = 0.002
NO_ANSWER = "did not answer"


def record_check(
    claim: LeaseClaim,
    service_id: str,
    known: KnownState,
    version: int,
    verdict: ServiceVerdict,
    observation: Observation,
) -> int:
    """Write what an answered check changed; returns the new version of the known state.

    Raises `LeaseLost`, `row_writer.StaleVersion`, `row_writer.ServiceRemoved`; then nothing of the verdict is written.
    """
    verdict = _stage(claim, service_id, version, verdict)
    with write() as session:
        claim.guard(session)
        row = row_writer.lock_state(session, service_id, version)
        if verdict.job_diff is not None:
            row_writer.delete_jobs(session, service_id, verdict.job_diff.removals)
            row_writer.upsert_jobs(session, service_id, verdict.job_diff, verdict.job_diff.upserts)
            row_writer.record_moment(row, observation)
            row_memory.record_figures(row, verdict)
            row.log_cursor = max(row.log_cursor, known.log_cursor)
        row_writer.write_items(session, service_id, verdict.opened)
        row_writer.close_items(session, service_id, verdict.closed, verdict.at)
        row_writer.record_answer(row, verdict, observation.look)
        row.version += 1
        if verdict.changed or verdict.suppressed or verdict.status == "stale":
            row_writer.write_sample(session, service_id, verdict, verdict.status, ok=True)
        if verdict.changed:
            append(session, [row_writer.record_update(session, row, known, verdict)])
        return row.version


def _stage(claim: LeaseClaim, service_id: str, version: int, verdict: ServiceVerdict) -> ServiceVerdict:
    """Write the bulk of a large verdict, and return the rest, which fits into one short transaction.

    A declared job is deleted from the known jobs in the transaction that opens its item: it is always in exactly one of
    both.
    """
    job_diff = verdict.job_diff
    if (
        job_diff is None
        or len(job_diff.upserts) + len(job_diff.removals) + len(verdict.opened) <= row_writer.MAX_ROWS_PER_WRITE
    ):
        return verdict
    declared = {item.job_id for item in verdict.opened if item.kind != "extra"}
    staging = _Staging(claim, service_id, version)
    staging.upsert(job_diff)
    staging.delete(job_id for job_id in job_diff.removals if job_id not in declared)
    staging.open_items(verdict.opened)
    return replace(verdict, job_diff=replace(job_diff, upserts=(), removals=()), opened=(), closed=verdict.closed)


class _Staging:
    """Writes rows of one verdict in short transactions, each under the lease and at the version that was judged."""

    def __init__(self, claim: LeaseClaim, service_id: str, version: int) -> None:
        self._claim, self._service_id, self._version = claim, service_id, version

    def upsert(self, job_diff: JobDiff) -> None:
        for jobs in iter_slices(job_diff.upserts, row_writer.MAX_ROWS_PER_WRITE):
            with self._transaction() as session:
                row_writer.upsert_jobs(session, self._service_id, job_diff, jobs)

    def delete(self, job_ids: Iterable[str]) -> None:
        for ids in iter_slices(job_ids, row_writer.MAX_ROWS_PER_WRITE):
            with self._transaction() as session:
                row_writer.delete_jobs(session, self._service_id, ids)

    def open_items(self, opened: Iterable[TrackedItem]) -> None:
        for items in iter_slices(opened, row_writer.MAX_ITEMS_PER_WRITE):
            with self._transaction() as session:
                row_writer.delete_jobs(
                    session, self._service_id, [item.job_id for item in items if item.kind != "extra"]
                )
                row_writer.write_items(session, self._service_id, items)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Session]:
        with write() as session:
            self._claim.guard(session)
            row_writer.lock_state(session, self._service_id, self._version)
            yield session
        time.sleep(PAUSE_BETWEEN_WRITES_S)


def record_silence(
    claim: LeaseClaim,
    service_id: str,
    stale_after: timedelta,
    failure: tuple[str, int] | None,
    *,
    is_overdue: bool = False,
) -> timedelta | None:
    """Record a failed poll (`failure`: its reason and how long it waited in ms), or only check how long it is silent.

    `is_overdue`: nobody has checked it for too long, perhaps never since it was added. Returns the time until the
    service counts as stale; None if it already does.
    """
    with write() as session:
        claim.guard(session)
        row = row_writer.lock_state(session, service_id)
        now = database_now(session)
        if failure is not None:
            _record_failure(row, now, *failure)
        silent_since, why = row.last_answer_at or row.failing_since, NOT_CHECKED_REASON if is_overdue else NO_ANSWER
        if silent_since is None and is_overdue:
            silent_since, why = session.get_one(Service, service_id).registered_at, NEVER_CHECKED_REASON
        if silent_since is None:
            return None
        left = parse_utc(silent_since) + stale_after - now
        known = load_known_state(session, service_id, row)
        verdict = reconcile.judge_silence(known, row.waited_ms or 0, _reason(row) or why, now, _last_answer(row))
        is_stale = left <= timedelta(0)
        if failure is not None:
            row_writer.write_sample(session, service_id, verdict, "stale" if is_stale else row.status, ok=False)
        if is_stale:
            row.flapping_json = flapping.dump_flaps(verdict.flaps)
        if is_stale and verdict.changed:
            row.version += 1
            append(session, [row_writer.record_update(session, row, known, verdict)])
        return None if is_stale else left


def _last_answer(row: ServiceState) -> datetime | None:
    """Since when it has been silent; None if no poll has failed, because then that is unknown."""
    return parse_utc(row.last_answer_at or row.failing_since) if row.failing_since else None


def _reason(row: ServiceState) -> str | None:
    """Why the newest poll failed. The reason of an answered check does not apply to the silence since."""
    return row.reason if row.failing_since else None


def _record_failure(row: ServiceState, now: datetime, reason: str, waited_ms: int) -> None:
    row.last_poll_at = utc_text(now)
    row.failing_since = row.failing_since or row.last_poll_at
    row.reason, row.waited_ms = reason, waited_ms

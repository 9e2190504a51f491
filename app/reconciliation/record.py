"""From verdicts to the record: everything of one verdict in one commit under the lease, or nothing.

Locks are taken in one order everywhere: lease row, state row, audit, event.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from app.clock import parse_utc, utc_text
from app.db import write
from app.eventlog.append import append
from app.reconciliation import reconcile, rows
from app.reconciliation.load import database_now, known_of
from app.reconciliation.models import ServiceState
from app.reconciliation.state import Heard, Known, Verdict
from app.sources.lease import Claim

Breathe = Callable[[], None]


def record_check(
    claim: Claim, service_id: str, known: Known, version: int, verdict: Verdict, heard: Heard, breathe: Breathe
) -> int:
    """Write what a look that was answered changed; the version of the belief from now on.

    Raises `LeaseLost`, `rows.Outdated`, `rows.NotWatched`; then nothing is written.
    """
    with write() as session:
        claim.guard(session)
        row = rows.locked_state(session, service_id, version)
        if verdict.belief is not None:
            rows.write_belief(session, row, verdict.belief, heard, breathe)
        rows.write_items(session, service_id, verdict.opened)
        rows.close_items(session, service_id, verdict.closed, verdict.at)
        rows.note_answer(row, verdict, heard.look)
        row.version += 1
        if verdict.changed or verdict.status == "stale":
            rows.write_sample(session, service_id, verdict, verdict.status, ok=True)
        if verdict.changed:
            append(session, [rows.tell(session, row, known, verdict)])
        return row.version


def record_silence(
    claim: Claim, service_id: str, stale_after: timedelta, failure: tuple[str, int] | None
) -> timedelta | None:
    """Write that a poll failed (`failure`: why, and how long was waited), or look at the silence only.

    Returns how long it takes until the service counts as stale; None where it does already.
    """
    with write() as session:
        claim.guard(session)
        row = rows.locked_state(session, service_id)
        now = database_now(session)
        if failure is not None:
            _note_failure(row, now, *failure)
        silent_since = row.last_answer_at or row.failing_since
        if silent_since is None:
            return None
        left = parse_utc(silent_since) + stale_after - now
        known = known_of(session, service_id, row)
        verdict = reconcile.stale(known, row.waited_ms or 0, row.reason or "did not answer", now)
        is_stale = left <= timedelta(0)
        if failure is not None:
            rows.write_sample(session, service_id, verdict, "stale" if is_stale else row.status, ok=False)
        if is_stale and verdict.changed:
            row.version += 1
            append(session, [rows.tell(session, row, known, verdict)])
        return None if is_stale else left


def _note_failure(row: ServiceState, now: datetime, reason: str, waited_ms: int) -> None:
    row.last_poll_at = utc_text(now)
    row.failing_since = row.failing_since or row.last_poll_at
    row.reason, row.waited_ms = reason, waited_ms

"""Whether a change of state goes on with what was wrong before, so that the record shows both as one episode."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.eventlog.event_types import FindingPayload, ReconciliationUpdate
from app.reconciliation.models import DiscrepancyEvent
from app.reconciliation.types import Verdict

_NO_JOBS = ""
# What stands beside a discrepancy and is none.
_NO_DISCREPANCY = frozenset({"unaccounted", "unreadable", "no-worker"})


def episode_of(session: Session, service_id: str, told: ReconciliationUpdate | None, verdict: Verdict) -> str | None:
    """The id of the row that the episode began with; None where this one begins it. `told`: the newest event."""
    if told is None or not goes_on(told, verdict):
        return None
    row = DiscrepancyEvent
    mine = sa.select(row.id, row.episode).where(row.service == service_id, row.status == verdict.status)
    newest = session.execute(mine.order_by(row.timestamp.desc(), row.id.desc()).limit(1)).one_or_none()
    return None if newest is None else newest.episode or newest.id


def goes_on(told: ReconciliationUpdate, verdict: Verdict) -> bool:
    """A discrepancy does while something of it is still wrong, also where the service fell silent in between."""
    if verdict.status == "discrepancy":
        return told.status != "verified" and not _named(told.findings or ()).isdisjoint(_named(verdict.findings))
    return verdict.status == told.status == "stale"


def _named(findings: Iterable[FindingPayload]) -> set[tuple[str, str]]:
    wrong = [finding for finding in findings if finding.kind not in _NO_DISCREPANCY]
    return {(finding.kind, job_id) for finding in wrong for job_id in finding.job_ids or (_NO_JOBS,)}

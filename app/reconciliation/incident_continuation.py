"""Decides whether a change of state continues an earlier problem, so that the record shows one episode."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.eventlog.event_types import FindingPayload, ReconciliationUpdate
from app.reconciliation.models import DiscrepancyEvent
from app.reconciliation.types import ServiceVerdict

_NO_JOBS = ""
# Findings that are not part of a discrepancy.
_KINDS_OUTSIDE_EPISODES = frozenset({"unaccounted", "unreadable", "no-worker"})


def find_continued_episode(
    session: Session, service_id: str, last_published: ReconciliationUpdate | None, verdict: ServiceVerdict
) -> str | None:
    """The id of the row that began the episode; None if this row begins one. `last_published` is the newest event."""
    if last_published is None or not is_continued(last_published, verdict):
        return None
    row = DiscrepancyEvent
    mine = sa.select(row.id, row.episode).where(row.service == service_id, row.status == verdict.status)
    newest = session.execute(mine.order_by(row.timestamp.desc(), row.id.desc()).limit(1)).one_or_none()
    return None if newest is None else newest.episode or newest.id


def is_continued(last_published: ReconciliationUpdate, verdict: ServiceVerdict) -> bool:
    """A discrepancy continues while part of it is still wrong, also across a silence of the service."""
    if verdict.status == "discrepancy":
        return last_published.status != "verified" and not _problem_ids(last_published.findings or ()).isdisjoint(
            _problem_ids(verdict.findings)
        )
    return verdict.status == last_published.status == "stale"


def _problem_ids(findings: Iterable[FindingPayload]) -> set[tuple[str, str]]:
    wrong = [finding for finding in findings if finding.kind not in _KINDS_OUTSIDE_EPISODES]
    return {(finding.kind, job_id) for finding in wrong for job_id in finding.job_ids or (_NO_JOBS,)}

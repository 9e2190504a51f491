"""What the overview, the log and notifications say of a service's failed jobs: how many, and why in the last hour."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.eventlog.event_types import FailureCause, FailuresUpdate
from app.failures.grouping import describe_cause
from app.failures.models import FailedJob, FailureGroup
from app.infra.clock import parse_utc, utc_now, utc_text

MAX_CAUSES_NAMED = 3
MAX_TITLE_CHARS = 200
# Recent causes read at once, for all services together.
MAX_CAUSES_READ = 2_000
# A cause that was last seen longer ago no longer needs attention; the page of failures still has it.
RECENT = timedelta(hours=1)


def summarize(session: Session, service_ids: Sequence[str]) -> dict[str, FailuresUpdate]:
    """A summary for each of these services, those without failed jobs included."""
    read, unread = _count_read(session, service_ids), _count_unread(session, service_ids)
    causes = dict[str, list[FailureGroup]]()
    for group in _list_recent(session, service_ids):
        causes.setdefault(group.service_id, []).append(group)
    return {
        one: FailuresUpdate(
            service=one,
            failed=read.get(one, 0) + unread.get(one, 0),
            causes=name_causes(causes.get(one, ())),
            more_causes=max(0, len(causes.get(one, ())) - MAX_CAUSES_NAMED) or None,
            not_read_yet=unread.get(one),
        )
        for one in service_ids
    }


def name_causes(groups: Iterable[FailureGroup], limit: int = MAX_CAUSES_NAMED) -> list[FailureCause]:
    """The largest of these groups as events carry them."""
    largest = sorted(groups, key=lambda group: (-group.jobs, group.id))[:limit]
    return [
        FailureCause(
            group=group.id,
            title=describe_cause(group.function, group.error_type)[:MAX_TITLE_CHARS],
            count=group.jobs,
            first_at=parse_utc(group.first_at),
            last_at=parse_utc(group.last_at),
        )
        for group in largest
    ]


def is_muted(now: str) -> sa.ColumnElement[bool]:
    """True for a group that is muted at this moment, never null."""
    return sa.func.coalesce(FailureGroup.muted_until > now, sa.false())


def _list_recent(session: Session, service_ids: Sequence[str]) -> Sequence[FailureGroup]:
    now = utc_now()
    recent = (
        FailureGroup.service_id.in_(service_ids),
        FailureGroup.jobs > 0,
        FailureGroup.last_at >= utc_text(now - RECENT),
        sa.not_(is_muted(utc_text(now))),
    )
    query = sa.select(FailureGroup).where(*recent).order_by(FailureGroup.jobs.desc()).limit(MAX_CAUSES_READ)
    return session.scalars(query).all()


def _count_read(session: Session, service_ids: Sequence[str]) -> dict[str, int]:
    mine = (FailureGroup.service_id.in_(service_ids), FailureGroup.jobs > 0)
    jobs = sa.cast(sa.func.sum(FailureGroup.jobs), sa.Integer).label("number")
    query = sa.select(FailureGroup.service_id, jobs).where(*mine).group_by(FailureGroup.service_id)
    return {row.service_id: row.number for row in session.execute(query)}


def _count_unread(session: Session, service_ids: Sequence[str]) -> dict[str, int]:
    mine = (FailedJob.service_id.in_(service_ids), FailedJob.gone_at.is_(None), FailedJob.read_at.is_(None))
    query = sa.select(FailedJob.service_id, sa.func.count().label("number")).where(*mine).group_by(FailedJob.service_id)
    return {row.service_id: row.number for row in session.execute(query)}

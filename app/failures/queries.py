"""Queries for the causes of failures: groups with what their jobs have in common, and the jobs of one group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.failures.models import FailedJob, FailureGroup
from app.infra.clock import utc_now, utc_text
from app.reconciliation.models import Service

LAST_HOUR = timedelta(hours=1)
# What the jobs of a group have in common is read from so many of the newest ones.
MAX_JOBS_COMPARED = 1_000
MAX_SAMPLE_JOBS = 5
_IS_OPEN = FailedJob.gone_at.is_(None)


@dataclass(frozen=True, slots=True)
class GroupFilter:
    """`words`: all of them must be in the function, the type or the message. `muted`: only muted groups, or no such."""

    service_id: str | None = None
    since: str | None = None
    until: str | None = None
    words: tuple[str, ...] = ()
    muted: bool | None = None


@dataclass(frozen=True, slots=True)
class CommonFacts:
    """What the newest jobs of a group have in common: how many of them are in each queue and on each worker."""

    compared: int
    queues: Mapping[str, int]
    workers: Mapping[str, int]
    sample_job_ids: Sequence[str]


def list_groups(session: Session, wanted: GroupFilter, limit: int) -> Sequence[FailureGroup]:
    """The groups with jobs that are failed now, the largest first."""
    watched = sa.select(Service.id).where(Service.removed_at.is_(None))
    query = sa.select(FailureGroup).where(FailureGroup.jobs > 0, FailureGroup.service_id.in_(watched))
    if wanted.service_id is not None:
        query = query.where(FailureGroup.service_id == wanted.service_id)
    if wanted.since is not None:
        query = query.where(FailureGroup.last_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(FailureGroup.first_at < wanted.until)
    for word in wanted.words:
        columns = (FailureGroup.function, FailureGroup.error_type, FailureGroup.message)
        query = query.where(sa.or_(*(column.icontains(word, autoescape=True) for column in columns)))
    if wanted.muted is not None:
        is_muted = sa.and_(FailureGroup.muted_until.is_not(None), FailureGroup.muted_until > utc_text())
        query = query.where(is_muted if wanted.muted else sa.not_(sa.func.coalesce(is_muted, sa.false())))
    order = (FailureGroup.jobs.desc(), FailureGroup.last_at.desc(), FailureGroup.id)
    return session.scalars(query.order_by(*order).limit(limit)).all()


def find_group(session: Session, group_id: str) -> FailureGroup | None:
    return session.get(FailureGroup, group_id)


def find_group_of_job(session: Session, service_id: str, job_id: str) -> FailureGroup | None:
    """The cause of a job that is failed now; None if it is not, or its facts are not read yet."""
    mine = (FailedJob.service_id == service_id, FailedJob.job_id == job_id, _IS_OPEN)
    query = sa.select(FailureGroup).join(FailedJob, FailedJob.group_id == FailureGroup.id).where(*mine)
    return session.scalars(query).first()


def count_last_hour(session: Session, group_ids: Sequence[str]) -> Mapping[str, int]:
    """How many jobs of each group have failed within the last hour, those that are gone too."""
    since = utc_text(utc_now() - LAST_HOUR)
    recent = sa.select(FailedJob.group_id, sa.func.count()).where(FailedJob.failed_at >= since)
    found = session.execute(recent.where(FailedJob.group_id.in_(group_ids)).group_by(FailedJob.group_id)).all()
    return {group_id: number for group_id, number in found if group_id is not None}


def compare_jobs(session: Session, group_id: str) -> CommonFacts:
    """Compare the newest jobs of a group that are failed now."""
    columns = (FailedJob.job_id, FailedJob.queue, FailedJob.worker)
    mine = sa.select(*columns).where(FailedJob.group_id == group_id, _IS_OPEN)
    rows = session.execute(mine.order_by(FailedJob.failed_at.desc()).limit(MAX_JOBS_COMPARED)).all()
    queues, workers = dict[str, int](), dict[str, int]()
    for _, queue, worker in rows:
        for name, counts in ((queue, queues), (worker, workers)):
            if name:
                counts[name] = counts.get(name, 0) + 1
    return CommonFacts(len(rows), queues, workers, [row[0] for row in rows[:MAX_SAMPLE_JOBS]])


def list_job_ids(session: Session, group_id: str, limit: int, seen_until: str | None = None) -> Sequence[str]:
    """The jobs of a group that are failed now, the newest first; with `seen_until` only those known by then."""
    mine = sa.select(FailedJob.job_id).where(FailedJob.group_id == group_id, _IS_OPEN)
    if seen_until is not None:
        mine = mine.where(FailedJob.read_at <= seen_until)
    return session.scalars(mine.order_by(FailedJob.failed_at.desc(), FailedJob.job_id).limit(limit)).all()

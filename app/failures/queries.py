"""Queries for the causes of failures, and for the jobs of one cause."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.failures.models import FailedJob, FailureGroup
from app.failures.summaries import is_muted
from app.infra.clock import utc_text
from app.reconciliation.models import Service

MAX_SAMPLE_JOBS = 5
SortBy = Literal["count", "last", "first"]
_SORT_COLUMNS = {"count": FailureGroup.jobs, "last": FailureGroup.last_at, "first": FailureGroup.first_at}
_IS_OPEN = FailedJob.gone_at.is_(None)
_NEWEST_FIRST = (FailedJob.failed_at.desc(), FailedJob.job_id.desc())  # as an index has them


@dataclass(frozen=True, slots=True)
class GroupFilter:
    """`words`: all of them must be in the function, the type or the message. `muted`: only muted groups, or no such."""

    service_id: str | None = None
    since: str | None = None
    until: str | None = None
    words: tuple[str, ...] = ()
    muted: bool | None = None
    sort: SortBy = "count"
    is_descending: bool = True


class GroupTotal(NamedTuple):
    """How many groups there are, and how many jobs they have that are failed now."""

    groups: int
    jobs: int


class Neighbours(NamedTuple):
    """Ids of jobs; None at the end of the list."""

    newer: str | None = None
    older: str | None = None


def list_groups(session: Session, wanted: GroupFilter, limit: int) -> Sequence[FailureGroup]:
    """The groups with jobs that are failed now, those that are muted last."""
    column = _SORT_COLUMNS[wanted.sort]
    order = (column.desc() if wanted.is_descending else column.asc(), FailureGroup.last_at.desc(), FailureGroup.id)
    query = sa.select(FailureGroup).where(*_conditions(wanted))
    return session.scalars(query.order_by(is_muted(utc_text()), *order).limit(limit)).all()


def count_groups(session: Session, wanted: GroupFilter) -> GroupTotal:
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(FailureGroup.jobs), 0)).where(*_conditions(wanted))
    groups, jobs = session.execute(query).one()
    return GroupTotal(groups, int(jobs))


def _conditions(wanted: GroupFilter) -> Iterator[sa.ColumnElement[bool]]:
    watched = sa.select(Service.id).where(Service.removed_at.is_(None))
    yield FailureGroup.jobs > 0
    yield FailureGroup.service_id.in_(watched)
    if wanted.service_id is not None:
        yield FailureGroup.service_id == wanted.service_id
    if wanted.since is not None:
        yield FailureGroup.last_at >= wanted.since
    if wanted.until is not None:
        yield FailureGroup.first_at < wanted.until
    for word in wanted.words:
        columns = (FailureGroup.function, FailureGroup.error_type, FailureGroup.message)
        yield sa.or_(*(column.icontains(word, autoescape=True) for column in columns))
    if wanted.muted is not None:
        yield is_muted(utc_text()) == sa.literal(wanted.muted)


def find_group(session: Session, group_id: str) -> FailureGroup | None:
    return session.get(FailureGroup, group_id)


def find_failed_job(session: Session, service_id: str, job_id: str) -> FailedJob | None:
    """A job that is failed now."""
    job = session.get(FailedJob, (service_id, job_id))
    return job if job is not None and job.gone_at is None else None


def find_neighbours(session: Session, job: FailedJob) -> Neighbours:
    """The next newer and the next older job with the same cause that are failed now."""
    key, here = sa.tuple_(FailedJob.failed_at, FailedJob.job_id), sa.tuple_(job.failed_at, job.job_id)
    mine = sa.select(FailedJob.job_id).where(FailedJob.group_id == job.group_id, _IS_OPEN).limit(1)
    newer = session.scalars(mine.where(key > here).order_by(FailedJob.failed_at, FailedJob.job_id)).first()
    older = session.scalars(mine.where(key < here).order_by(*_NEWEST_FIRST)).first()
    return Neighbours(newer, older)


def sample_job_ids(session: Session, group_ids: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """The newest jobs of each group that are failed now, in one query."""
    mine = sa.select(FailedJob.job_id).where(FailedJob.group_id == FailureGroup.id, _IS_OPEN)
    newest = mine.order_by(*_NEWEST_FIRST).correlate(FailureGroup).limit(1)
    samples = [newest.offset(place).scalar_subquery() for place in range(MAX_SAMPLE_JOBS)]
    found = session.execute(sa.select(FailureGroup.id, *samples).where(FailureGroup.id.in_(group_ids)))
    return {group_id: [job_id for job_id in job_ids if job_id is not None] for group_id, *job_ids in found}


def list_jobs(session: Session, group_id: str, limit: int) -> Sequence[FailedJob]:
    """The jobs of a group that are failed now, the newest first."""
    mine = sa.select(FailedJob).where(FailedJob.group_id == group_id, _IS_OPEN)
    return session.scalars(mine.order_by(*_NEWEST_FIRST).limit(limit)).all()


def list_job_ids(session: Session, group_id: str, limit: int, seen_until: str | None = None) -> Sequence[str]:
    """The jobs of a group that are failed now, the newest first; with `seen_until` only those known by then."""
    mine = sa.select(FailedJob.job_id).where(FailedJob.group_id == group_id, _IS_OPEN)
    if seen_until is not None:
        mine = mine.where(FailedJob.read_at <= seen_until)
    return session.scalars(mine.order_by(*_NEWEST_FIRST).limit(limit)).all()

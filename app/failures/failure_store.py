"""Rows of failed jobs and of their causes. Every write happens under the lease of the poller."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import insert_into
from app.failures import shares
from app.failures.grouping import GroupKey, find_group
from app.failures.models import FailedJob, FailureGroup, FailureLocation
from app.infra.clock import utc_now, utc_text
from app.infra.redaction import redact_text, replace_unstorable
from app.reconciliation.models import Service
from app.sources.protocol import JobDetail

MAX_MESSAGE_CHARS = 2_000
# A cause without failed jobs is over after so long without a failure; what fails then is a new one.
OVER_AFTER = timedelta(days=1)
# Only what failed within this time is announced as new, not what a service has kept from before Beacon watched it.
NEW_WITHIN = timedelta(hours=1)
_IS_OPEN = FailedJob.gone_at.is_(None)


def load_open_ids(session: Session, service_id: str) -> set[str]:
    """The ids of the jobs that are failed as far as Beacon knows."""
    return set(session.scalars(sa.select(FailedJob.job_id).where(FailedJob.service_id == service_id, _IS_OPEN)))


def load_unread_ids(session: Session, service_id: str, limit: int) -> list[str]:
    """Failed jobs whose facts are not read yet, those that were found first first."""
    unread = (FailedJob.service_id == service_id, _IS_OPEN, FailedJob.read_at.is_(None))
    query = sa.select(FailedJob.job_id).where(*unread).order_by(FailedJob.seen_at, FailedJob.job_id)
    return list(session.scalars(query.limit(limit)))


def count_unread(session: Session, service_id: str | None = None) -> int:
    services = sa.select(Service.id).where(Service.removed_at.is_(None))
    if service_id is not None:
        services = services.where(Service.id == service_id)
    # By service, as the index of what is unread has them.
    unread = (FailedJob.service_id.in_(services), _IS_OPEN, FailedJob.read_at.is_(None))
    return session.scalars(sa.select(sa.func.count()).where(*unread)).one()


def add_failed(session: Session, service_id: str, job_ids: Iterable[str]) -> None:
    """Record jobs that a poll found failed. One that had been gone starts anew."""
    now = utc_text()
    rows = [{"service_id": service_id, "job_id": job_id, "seen_at": now} for job_id in job_ids]
    forgotten = dict.fromkeys(("gone_at", "read_at", "failed_at", "group_id"))
    statement = insert_into(FailedJob, session.get_bind().dialect.name).values(rows)
    session.execute(
        statement.on_conflict_do_update(index_elements=["service_id", "job_id"], set_={"seen_at": now, **forgotten})
    )


def mark_gone(session: Session, service_id: str, job_ids: Sequence[str]) -> None:
    """Record that jobs are no longer failed: retried, deleted, or no longer kept by their service."""
    mine = (FailedJob.service_id == service_id, FailedJob.job_id.in_(job_ids), _IS_OPEN)
    _subtract_from_groups(session, *mine)
    session.execute(sa.update(FailedJob).where(*mine).values(gone_at=utc_text()))


def forget_facts(session: Session, service_id: str, job_ids: sa.Select[str]) -> None:
    """Have the facts of these jobs read again: they were retried, and may have failed again for another reason."""
    mine = (FailedJob.service_id == service_id, FailedJob.job_id.in_(job_ids), _IS_OPEN)
    _subtract_from_groups(session, *mine)
    forgotten = dict.fromkeys(("read_at", "failed_at", "group_id"))
    session.execute(
        sa.update(FailedJob).where(*mine).values(**forgotten), execution_options={"synchronize_session": False}
    )


def record_facts(session: Session, service_id: str, asked: Sequence[str], facts: Mapping[str, JobDetail]) -> set[str]:
    """Record what was read of these jobs, and which group each belongs to. What was not told is read by then, too.

    Returns the ids of the groups that are new: nothing of theirs failed for a day before, and something does now.
    """
    now = utc_text()
    seen = sa.select(FailedJob.job_id, FailedJob.seen_at).where(
        FailedJob.service_id == service_id, FailedJob.job_id.in_(asked), _IS_OPEN, FailedJob.read_at.is_(None)
    )
    rows, groups = list[dict[str, Any]](), dict[GroupKey, list[dict[str, Any]]]()
    for job_id, seen_at in session.execute(seen):
        detail = facts.get(job_id)
        if detail is None:
            continue
        key = find_group(service_id, detail.function, detail.error)
        row = _build_row(service_id, job_id, detail, key, seen_at) | {"read_at": now}
        rows.append(row)
        groups.setdefault(key, []).append(row | {"frame": _frame_of(detail)})
    began_before = utc_text(utc_now() - NEW_WITHIN)
    newest = {key.id: max(row["failed_at"] for row in members) for key, members in groups.items()}
    ongoing = _find_ongoing(session, list(newest))
    for key, members in groups.items():
        _add_to_group(session, key, members, is_ongoing=key.id in ongoing)
    shares.add(session, rows)
    if rows:
        _record_locations(session, rows)
        session.execute(sa.update(FailedJob), rows)  # by primary key, in one call of the driver
    return {group_id for group_id, at in newest.items() if group_id not in ongoing and at >= began_before}


def _find_ongoing(session: Session, group_ids: Sequence[str]) -> set[str]:
    """Those of these groups that have failed jobs, or had a failure within a day."""
    since = utc_text(utc_now() - OVER_AFTER)
    is_ongoing = sa.or_(FailureGroup.jobs > 0, FailureGroup.last_at >= since)
    return set(session.scalars(sa.select(FailureGroup.id).where(FailureGroup.id.in_(group_ids), is_ongoing)))


def _build_row(service_id: str, job_id: str, detail: JobDetail, key: GroupKey, seen_at: str) -> dict[str, Any]:
    run = detail.ended_at - detail.started_at if detail.ended_at and detail.started_at else None
    return {
        "service_id": service_id,
        "job_id": job_id,
        "group_id": key.id,
        "failed_at": utc_text(detail.ended_at) if detail.ended_at else seen_at,
        "queue": _store(detail.job.queue),
        "worker": _store(detail.worker),
        "message": redact_text(detail.error.message[:MAX_MESSAGE_CHARS]) if detail.error else None,
        "attempt": detail.job.attempt,
        "max_attempts": detail.max_attempts,
        "run_s": None if run is None else max(0.0, run.total_seconds()),
    }


def _add_to_group(session: Session, key: GroupKey, members: Sequence[Mapping[str, Any]], *, is_ongoing: bool) -> None:
    """Count these jobs. The first failure of a group that was over for a day begins it anew."""
    newest = max(members, key=lambda row: row["failed_at"])
    first_at = min(row["failed_at"] for row in members)
    insert = insert_into(FailureGroup, session.get_bind().dialect.name).values(
        id=key.id,
        service_id=key.service_id,
        function=_store(key.function) or None,
        error_type=_store(key.error_type) or None,
        message=newest["message"],
        frame=newest["frame"],
        jobs=len(members),
        first_at=first_at,
        last_at=newest["failed_at"],
    )
    given = insert.excluded
    is_newer, is_older = given.last_at >= FailureGroup.last_at, given.first_at < FailureGroup.first_at
    session.execute(
        insert.on_conflict_do_update(
            index_elements=["id"],
            set_={
                "jobs": FailureGroup.jobs + given.jobs,
                "message": sa.case((is_newer, given.message), else_=FailureGroup.message),
                "frame": sa.case((is_newer, given.frame), else_=FailureGroup.frame),
                "first_at": sa.case((is_older, given.first_at), else_=FailureGroup.first_at)
                if is_ongoing
                else given.first_at,
                "last_at": sa.case((is_newer, given.last_at), else_=FailureGroup.last_at),
            },
        )
    )


def _record_locations(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Record the queues and workers of these jobs, each with its newest failure."""
    last: dict[tuple[str, str, str], str] = {}
    for row in rows:
        for kind in ("queue", "worker"):
            if row[kind]:
                key = (row["service_id"], kind, row[kind])
                last[key] = max(last.get(key, ""), row["failed_at"])
    if not last:
        return
    names = ("service_id", "kind", "name")
    values = [dict(zip(names, key, strict=True)) | {"last_at": at} for key, at in sorted(last.items())]
    insert = insert_into(FailureLocation, session.get_bind().dialect.name).values(values)
    given = insert.excluded.last_at
    session.execute(
        insert.on_conflict_do_update(
            index_elements=names, set_={"last_at": given}, where=FailureLocation.last_at < given
        )
    )


def _subtract_from_groups(session: Session, *mine: sa.ColumnElement[bool]) -> None:
    """Take these jobs out of the numbers of their groups."""
    columns = (FailedJob.group_id, FailedJob.queue, FailedJob.worker, FailedJob.attempt, FailedJob.max_attempts)
    found = session.execute(sa.select(*columns).where(*mine, FailedJob.group_id.is_not(None))).mappings().all()
    for group_id, number in sorted(Counter(str(row["group_id"]) for row in found).items()):
        fewer = sa.update(FailureGroup).where(FailureGroup.id == group_id)
        session.execute(fewer.values(jobs=FailureGroup.jobs - number))
    shares.subtract(session, [dict(row) for row in found])


def _frame_of(detail: JobDetail) -> str | None:
    return _store(str(detail.error.frame)) if detail.error and detail.error.frame else None


def _store(text: str | None) -> str | None:
    return None if text is None else replace_unstorable(text)

"""Deletes failed jobs that are gone for long, or too many of them, and causes and places that nothing is left of."""

import logging
import time
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from app.db import count_changed, read, write
from app.failures.models import FailedJob, FailureGroup, FailureLocation
from app.failures.summaries import is_muted
from app.infra.clock import utc_now, utc_text
from app.reconciliation.models import Service

log = logging.getLogger(__name__)

BATCH_ROWS = 1_000
MAX_BATCHES = 100
# Jobs of all services that are gone, and causes of one service without a job. Those that are failed now are no more
# than the services list.
MAX_GONE_JOBS = 500_000
MAX_EMPTY_GROUPS = 10_000
# Pause between two steps, so that other writers need not wait.
STEP_PAUSE_S = 0.01
_IS_EMPTY = FailureGroup.jobs <= 0


def prune(retention_days: float) -> None:
    before = utc_text(utc_now() - timedelta(days=retention_days))
    old = sa.select(FailedJob.service_id, FailedJob.job_id).where(FailedJob.gone_at < before).limit(BATCH_ROWS)
    for _ in range(MAX_BATCHES):
        if _delete_gone(old) < BATCH_ROWS:
            break
    with write() as session:
        session.execute(sa.delete(FailureGroup).where(_IS_EMPTY, FailureGroup.last_at < before, _is_not_muted()))
        # While a service has jobs that failed so long ago and still are, so are its queues and workers.
        still = sa.select(FailedJob.service_id).where(FailedJob.failed_at < before, FailedJob.gone_at.is_(None))
        unused = sa.delete(FailureLocation).where(FailureLocation.last_at < before)
        session.execute(unused.where(FailureLocation.service_id.not_in(still)))


def enforce_limits() -> int:
    """Delete what is too much, however young it is, the oldest first; returns how many jobs and causes."""
    jobs, groups = _limit_gone_jobs(), _limit_empty_groups()
    if jobs or groups:
        log.warning("too many failed jobs: deleted %s that are gone and %s causes before their retention", jobs, groups)
    return jobs + groups


def _limit_gone_jobs() -> int:
    with read() as session:
        found = session.scalars(sa.select(sa.func.count()).where(FailedJob.gone_at.is_not(None))).one()
    deleted, too_many = 0, found - MAX_GONE_JOBS
    oldest = (
        sa.select(FailedJob.service_id, FailedJob.job_id)
        .where(FailedJob.gone_at.is_not(None))
        .order_by(FailedJob.gone_at)
    )
    while deleted < too_many:
        step = _delete_gone(oldest.limit(min(BATCH_ROWS, too_many - deleted)))
        if step == 0:
            break
        deleted += step
        time.sleep(STEP_PAUSE_S)
    return deleted


def _limit_empty_groups() -> int:
    with read() as session:
        services = session.scalars(sa.select(Service.id)).all()
    deleted = 0
    for service_id in services:
        kept = sa.select(FailureGroup.id).where(FailureGroup.service_id == service_id, _IS_EMPTY, _is_not_muted())
        beyond = kept.order_by(FailureGroup.last_at.desc()).offset(MAX_EMPTY_GROUPS).limit(BATCH_ROWS)
        while step := _delete_groups(beyond):
            deleted += step
            time.sleep(STEP_PAUSE_S)
    return deleted


def _delete_gone(found: sa.Select[Any, Any]) -> int:
    """How many rows were found. One that has failed again in between stays."""
    with read() as session:  # usually there is nothing to delete: no write transaction then
        keys = [tuple(row) for row in session.execute(found).all()]
    if keys:
        with write() as session:
            is_found = sa.tuple_(FailedJob.service_id, FailedJob.job_id).in_(keys)
            session.execute(sa.delete(FailedJob).where(is_found, FailedJob.gone_at.is_not(None)))
    return len(keys)


def _delete_groups(found: sa.Select[Any]) -> int:
    """How many rows were deleted. One that has a job again in between stays."""
    with read() as session:
        ids = session.scalars(found).all()
    if not ids:
        return 0
    with write() as session:
        return count_changed(session, sa.delete(FailureGroup).where(FailureGroup.id.in_(ids), _IS_EMPTY))


def _is_not_muted() -> sa.ColumnElement[bool]:
    return sa.not_(is_muted(utc_text()))

"""Deletes failed jobs that are gone for longer than events are kept, and causes and places that nothing is left of."""

from datetime import timedelta

import sqlalchemy as sa

from app.db import read, write
from app.failures.models import FailedJob, FailureGroup, FailureLocation
from app.infra.clock import utc_now, utc_text

BATCH_ROWS = 1_000
MAX_BATCHES = 100


def prune(retention_days: float) -> None:
    before = utc_text(utc_now() - timedelta(days=retention_days))
    for _ in range(MAX_BATCHES):
        if _delete_batch(before) < BATCH_ROWS:
            break
    with write() as session:
        empty = sa.and_(FailureGroup.jobs <= 0, FailureGroup.last_at < before)
        is_muted = sa.and_(FailureGroup.muted_until.is_not(None), FailureGroup.muted_until > utc_text())
        session.execute(sa.delete(FailureGroup).where(empty, sa.not_(sa.func.coalesce(is_muted, sa.false()))))
        # While a service has jobs that failed so long ago and still are, so are its queues and workers.
        still = sa.select(FailedJob.service_id).where(FailedJob.failed_at < before, FailedJob.gone_at.is_(None))
        old = sa.delete(FailureLocation).where(FailureLocation.last_at < before)
        session.execute(old.where(FailureLocation.service_id.not_in(still)))


def _delete_batch(before: str) -> int:
    """How many rows were deleted."""
    key = (FailedJob.service_id, FailedJob.job_id)
    with read() as session:  # usually there is nothing to delete: no write transaction then
        gone = session.execute(sa.select(*key).where(FailedJob.gone_at < before).limit(BATCH_ROWS)).all()
    if gone:
        with write() as session:
            session.execute(sa.delete(FailedJob).where(sa.tuple_(*key).in_([tuple(row) for row in gone])))
    return len(gone)

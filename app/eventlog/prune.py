"""Retention: old events go in small steps, so that no writer waits long for one."""

import time
from datetime import timedelta

import sqlalchemy as sa

from app.clock import utc_now, utc_text
from app.db import read, write
from app.eventlog.models import EventRow

STEP = 500
# Between two steps, for everything else that the loop has to do.
PAUSE_S = 0.01


def prune(retention_days: float) -> int:
    """Delete events older than `retention_days`; returns how many went. Safe to run anywhere, any number of times."""
    cutoff = utc_text(utc_now() - timedelta(days=retention_days))
    gone = 0
    while step := _step(cutoff):
        gone += step
        time.sleep(PAUSE_S)
    return gone


def _step(cutoff: str) -> int:
    """One small transaction. Ids rise with time, so the oldest rows are the lowest ids: no index on time is needed."""
    with read() as session:
        oldest = sa.select(EventRow.id, EventRow.created_at).order_by(EventRow.id).limit(STEP).subquery()
        last = session.scalar(sa.select(sa.func.max(oldest.c.id)).where(oldest.c.created_at < cutoff))
    if last is None:
        return 0
    with write() as session:
        deleted = session.execute(sa.delete(EventRow).where(EventRow.id <= last, EventRow.created_at < cutoff))
        return int(deleted.rowcount)  # type: ignore[attr-defined]  # a DELETE's result is a CursorResult

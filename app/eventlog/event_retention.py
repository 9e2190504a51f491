"""Deletes events that are too old or too many, in small steps, so that no writer waits long."""

import logging
import time
from datetime import timedelta

import sqlalchemy as sa

from app.db import count_changed, read, write
from app.eventlog.log_size import LogSizeMeter
from app.eventlog.models import EventRow
from app.infra.clock import utc_now, utc_text

log = logging.getLogger(__name__)

ROWS_PER_STEP = 500
# Pause between two steps, so that the loop can do other work.
STEP_PAUSE_S = 0.01
# How often a log that stays full is reported.
WARN_EVERY_S = 600.0


def prune(retention_days: float) -> int:
    """Delete events older than `retention_days`; returns how many. Idempotent, and safe on several workers at once."""
    cutoff = utc_text(utc_now() - timedelta(days=retention_days))
    gone = 0
    while step := _prune_step(cutoff):
        gone += step
        time.sleep(STEP_PAUSE_S)
    return gone


def _prune_step(cutoff: str) -> int:
    """Run one small transaction. Ids rise with time, so the oldest rows have the lowest ids: no time index needed."""
    with read() as session:
        oldest = sa.select(EventRow.id, EventRow.created_at).order_by(EventRow.id).limit(ROWS_PER_STEP).subquery()
        last = session.scalar(sa.select(sa.func.max(oldest.c.id)).where(oldest.c.created_at < cutoff))
    return 0 if last is None else _delete_through(last, EventRow.created_at < cutoff)


class LogLimit:
    """The log's limit in rows and bytes. The oldest events are deleted first; cursors below the floor get a `reset`."""

    def __init__(self, max_rows: int, max_bytes: int, measure: LogSizeMeter) -> None:
        self._max_rows, self._max_bytes, self.measure = max_rows, max_bytes, measure
        self._warned_at = float("-inf")

    def enforce(self) -> int:
        """Delete events above the limit; returns how many."""
        gone = 0
        while (too_many := self._too_many()) > 0:
            step = _drop_oldest(min(ROWS_PER_STEP, too_many))
            gone += step
            if step == 0:
                break
            time.sleep(STEP_PAUSE_S)
        if gone and time.monotonic() - self._warned_at >= WARN_EVERY_S:
            self._warned_at = time.monotonic()
            log.warning(
                "the log is full: deleted the %s oldest events before their retention ended; max_rows=%s max_bytes=%s",
                gone,
                self._max_rows,
                self._max_bytes,
            )
        return gone

    def _too_many(self) -> int:
        with read() as session:
            size = self.measure.measure(session)
        if size.bytes > self._max_bytes:
            # Estimated from the mean size of an event; the next measurement shows whether it was enough.
            excess = size.rows * (size.bytes - self._max_bytes) // size.bytes
            return max(1, size.rows - self._max_rows, excess)
        return size.rows - self._max_rows


def _drop_oldest(count: int) -> int:
    with read() as session:
        last = session.scalar(sa.select(EventRow.id).order_by(EventRow.id).offset(count - 1).limit(1))
    return 0 if last is None else _delete_through(last)


def _delete_through(last: int, *conditions: sa.ColumnElement[bool]) -> int:
    with write() as session:
        return count_changed(session, sa.delete(EventRow).where(EventRow.id <= last, *conditions))

"""Deletes old notifications and messages in small batches; the event log keeps what happened."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from app.db import read, write
from app.infra.clock import utc_now, utc_text
from app.notifications.models import FlashRow, Notification

BATCH_ROWS = 500
MAX_BATCHES = 100


def prune(retention_days: float) -> None:
    """Delete notifications and messages older than the log's retention, and all marks on them."""
    before = utc_text(utc_now() - timedelta(days=retention_days))
    old = sa.select(Notification.id).where(Notification.created_at < before).order_by(Notification.created_at)
    ended = sa.select(FlashRow.id).where(FlashRow.expires_at < before).order_by(FlashRow.expires_at)
    for query, table in ((old, Notification), (ended, FlashRow)):
        for _ in range(MAX_BATCHES):
            if not _delete_batch(query.limit(BATCH_ROWS), table):
                break


def _delete_batch(query: sa.Select[Any], table: type[Notification | FlashRow]) -> bool:
    """True if there may be more to delete."""
    with read() as session:  # usually there is nothing to delete: no write transaction then
        ids = list(session.scalars(query))
    if ids:
        with write() as session:
            session.execute(sa.delete(table).where(table.id.in_(ids)))
    return len(ids) == BATCH_ROWS

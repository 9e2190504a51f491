"""Letting old notifications and messages go, in small steps: the log keeps what happened, these are for noticing it."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from app.db import read, write
from app.infra.clock import utc_now, utc_text
from app.notifications.models import FlashRow, Notification

AT_ONCE = 500
MAX_STEPS = 100


def prune(retention_days: float) -> None:
    """Delete what is older than the log's retention, with everyone's marks."""
    before = utc_text(utc_now() - timedelta(days=retention_days))
    old = sa.select(Notification.id).where(Notification.created_at < before).order_by(Notification.created_at)
    ended = sa.select(FlashRow.id).where(FlashRow.expires_at < before).order_by(FlashRow.expires_at)
    for query, table in ((old, Notification), (ended, FlashRow)):
        for _ in range(MAX_STEPS):
            if not _step(query.limit(AT_ONCE), table):
                break


def _step(query: sa.Select[Any], table: type[Notification | FlashRow]) -> bool:
    with read() as session:  # most of the time there is nothing to write
        ids = list(session.scalars(query))
    if ids:
        with write() as session:
            session.execute(sa.delete(table).where(table.id.in_(ids)))
    return len(ids) == AT_ONCE

"""Deletes old commands. Ids are kept for at least two days; the audit keeps what was done."""

from datetime import timedelta

import sqlalchemy as sa

from app.commands.models import CommandRow
from app.db import write
from app.infra.clock import utc_now, utc_text

MIN_RETENTION_DAYS = 2.0
COMMANDS_PER_TRANSACTION = 2


def prune(retention_days: float) -> None:
    """Delete in small transactions: each command may have thousands of items."""
    before = utc_text(utc_now() - timedelta(days=max(MIN_RETENTION_DAYS, retention_days)))
    old = sa.select(CommandRow.id).where(CommandRow.ended_at.is_not(None), CommandRow.ended_at < before)
    while True:
        with write() as session:
            ids = list(session.scalars(old.where(CommandRow.created_at < before).limit(COMMANDS_PER_TRANSACTION)))
            session.execute(sa.delete(CommandRow).where(CommandRow.id.in_(ids)))
        if len(ids) < COMMANDS_PER_TRANSACTION:
            return

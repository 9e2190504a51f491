"""Old commands go. An id is remembered for a day at the least; what was done stays in the audit."""

from datetime import timedelta

import sqlalchemy as sa

from app.commands.models import CommandRow
from app.db import write
from app.infra.clock import utc_now, utc_text
from app.infra.concurrency import yield_to_loop

LEAST_DAYS = 2.0
AT_ONCE = 2


def prune(retention_days: float) -> None:
    """A few at a time: each may have thousands of items."""
    before = utc_text(utc_now() - timedelta(days=max(LEAST_DAYS, retention_days)))
    old = sa.select(CommandRow.id).where(CommandRow.ended_at.is_not(None), CommandRow.ended_at < before)
    while True:
        with write() as session:
            ids = list(session.scalars(old.where(CommandRow.created_at < before).limit(AT_ONCE)))
            session.execute(sa.delete(CommandRow).where(CommandRow.id.in_(ids)))
        if len(ids) < AT_ONCE:
            return
        yield_to_loop()

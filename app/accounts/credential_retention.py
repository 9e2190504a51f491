"""Deletes login sessions and API tokens that are long over; the audit names what it needs of them itself."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from app.accounts.models import ApiToken, LoginSession
from app.db import read, write
from app.infra.clock import utc_now, utc_text

BATCH_ROWS = 1_000
MAX_BATCHES = 100
LOGIN_KEPT_DAYS = 30
# Longer, because lists show revoked tokens.
TOKEN_KEPT_DAYS = 90


def prune() -> None:
    # One that only expired is not ended yet: that is audited first (`app.web.idle_logins`).
    before = utc_text(utc_now() - timedelta(days=LOGIN_KEPT_DAYS))
    _delete(LoginSession, sa.select(LoginSession.id).where(LoginSession.ended_at < before))
    before = utc_text(utc_now() - timedelta(days=TOKEN_KEPT_DAYS))
    # The newest row stays: SQLite would give its id, by which the audit names it, to another token.
    is_newest = ApiToken.id == sa.select(sa.func.max(ApiToken.id)).scalar_subquery()
    is_over = sa.or_(ApiToken.revoked_at < before, ApiToken.expires_at < before)
    _delete(ApiToken, sa.select(ApiToken.id).where(is_over, sa.not_(is_newest)))


def _delete(table: type[LoginSession | ApiToken], over: sa.Select[Any]) -> None:
    """Delete the rows in small transactions, so that no writer waits long."""
    for _ in range(MAX_BATCHES):
        with read() as session:  # usually there is nothing to delete: no write transaction then
            ids = session.scalars(over.limit(BATCH_ROWS)).all()
        if ids:
            with write() as session:
                session.execute(sa.delete(table).where(table.id.in_(ids)))
        if len(ids) < BATCH_ROWS:
            return

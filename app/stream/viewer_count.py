"""Counts open streams of the whole deployment, as its workers last reported them."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import now_epoch
from app.stream.models import PresenceRow
from app.stream.presence import ROW_EXPIRES_S


def count_streams(session: Session) -> int:
    return session.scalar(sa.select(sa.func.coalesce(sa.func.sum(PresenceRow.count), 0)).where(_is_alive())) or 0


def streaming_users(session: Session) -> set[str]:
    """Names of the users who have a stream open."""
    return set(session.scalars(sa.select(PresenceRow.user).where(_is_alive(), PresenceRow.count > 0)))


def _is_alive() -> sa.ColumnElement[bool]:
    now = now_epoch()
    return PresenceRow.seen.between(now - ROW_EXPIRES_S, now + ROW_EXPIRES_S)

"""Sends an operator's message to everybody: its row, its audit entry and its event in one commit."""

import secrets
import time
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import chain
from app.eventlog.append import NewEvent, append
from app.eventlog.event_types import FlashMessage, Severity
from app.infra.clock import utc_now, utc_text
from app.notifications.models import FlashRow
from app.notifications.queries import MAX_OPEN_MESSAGES

MAX_MESSAGE_CHARS = 300
MAX_MESSAGE_LIFETIME = timedelta(days=7)


class InvalidMessage(ValueError):
    """The message cannot be shown; the text says why."""


class TooManyMessages(InvalidMessage):
    """The limit of open messages is reached; nobody would read another one."""


def send_message(session: Session, actor: str, severity: Severity, text: str, expires_at: datetime) -> str:
    """Show `text` to everybody until `expires_at`, and return the message's id. Raises `InvalidMessage`."""
    now = utc_now()
    if not now < expires_at <= now + MAX_MESSAGE_LIFETIME:
        raise InvalidMessage(f"a message must end in the future, within {MAX_MESSAGE_LIFETIME.days} days")
    shown = sa.select(sa.func.count()).select_from(FlashRow).where(FlashRow.expires_at > utc_text(now))
    if (session.scalar(shown) or 0) >= MAX_OPEN_MESSAGES:
        raise TooManyMessages(f"{MAX_OPEN_MESSAGES} messages are shown already; wait until one has ended")
    row = FlashRow(
        id=_new_id(),
        severity=severity,
        text=text,
        actor=actor,
        created_at=utc_text(now),
        expires_at=utc_text(expires_at),
    )
    session.add(row)
    after = {"severity": severity, "text": text, "expiresAt": row.expires_at}
    chain.record(session, chain.Entry(actor, "flash-message", row.id, after=after))
    payload = FlashMessage(id=row.id, severity=severity, text=text, actor=actor, expires_at=expires_at)
    append(session, [NewEvent("flash.message", payload)])
    return row.id


def _new_id() -> str:
    """Ids sort by the time of creation."""
    return f"{time.time_ns() // 1_000_000:012x}-{secrets.token_hex(4)}"

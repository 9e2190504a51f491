"""An operator's message to everybody: its row, its audit entry and its event in one commit."""

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
from app.notifications.queries import MOST_FLASHES

MAX_CHARS = 300
LONGEST = timedelta(days=7)


class BadFlash(ValueError):
    """The message cannot be shown; the text says why."""


class TooMany(BadFlash):
    """So many messages are shown already that nobody would read another one."""


def send(session: Session, actor: str, severity: Severity, text: str, expires_at: datetime) -> str:
    """Show `text` to everybody until `expires_at`, and return the message's id. Raises `BadFlash`."""
    now = utc_now()
    if not now < expires_at <= now + LONGEST:
        raise BadFlash(f"a message ends in the future, within {LONGEST.days} days")
    shown = sa.select(sa.func.count()).select_from(FlashRow).where(FlashRow.expires_at > utc_text(now))
    if (session.scalar(shown) or 0) >= MOST_FLASHES:
        raise TooMany(f"{MOST_FLASHES} messages are shown already; wait until one has ended")
    row = FlashRow(
        id=_id(),
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


def _id() -> str:
    """Later ones sort behind earlier ones."""
    return f"{time.time_ns() // 1_000_000:012x}-{secrets.token_hex(4)}"

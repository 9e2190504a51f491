"""What a person does with notifications: mark as read, mute a service, dismiss a message.

Each action appends `notification.changed` for this person, so that their other tabs follow.
"""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.accounts.actors import Actor
from app.db import insert_into
from app.eventlog.append import NewEvent, append
from app.eventlog.event_types import NotificationChanged
from app.infra.clock import utc_now, utc_text
from app.notifications import queries
from app.notifications.models import Dismissal, FlashRow, Mute, ReadMark
from app.reconciliation.models import Service


class UnknownTarget(ValueError):
    """There is no such service, or no such message."""


def mark_read(session: Session, who: Actor, ids: Sequence[int] | None) -> int:
    """Mark these notifications (None: all) as read, if this person may see them. Returns how many were unread."""
    unread = list(session.scalars(queries.select_unread_ids(who, ids)))
    now = utc_text()
    rows = [{"user_id": who.user_id, "notification_id": each, "at": now} for each in unread]
    if not rows:
        return 0
    session.execute(insert_into(ReadMark).on_conflict_do_nothing(), rows)
    _append_changed(session, who)
    return len(rows)


def mute_service(session: Session, who: Actor, service: str, until: datetime | None) -> None:
    """Mute a service for this person until then (None: unmute it). Raises `UnknownTarget`."""
    if session.scalar(sa.select(Service.id).where(Service.id == service)) is None:
        raise UnknownTarget(service)
    if until is None or until <= utc_now():
        session.execute(sa.delete(Mute).where(Mute.user_id == who.user_id, Mute.service == service))
    else:
        insert = insert_into(Mute).values(user_id=who.user_id, service=service, until=utc_text(until))
        put = insert.on_conflict_do_update(index_elements=["user_id", "service"], set_={"until": insert.excluded.until})
        session.execute(put)
    _append_changed(session, who)


def dismiss_message(session: Session, who: Actor, flash_id: str) -> None:
    """Hide a message in every tab of this person. Raises `UnknownTarget`."""
    if session.get(FlashRow, flash_id) is None:
        raise UnknownTarget(flash_id)
    insert = insert_into(Dismissal).values(flash_id=flash_id, user_id=who.user_id)
    session.execute(insert.on_conflict_do_nothing())
    _append_changed(session, who)


def _append_changed(session: Session, who: Actor) -> None:
    append(session, [NewEvent("notification.changed", NotificationChanged(), f"user:{who.name}")])

"""What a person does: reads notifications, mutes a service, puts a message away. Their other tabs hear of it."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.accounts.actors import Actor
from app.eventlog.append import NewEvent, append
from app.eventlog.event_types import NotificationChanged
from app.infra.clock import utc_now, utc_text
from app.notifications import queries
from app.notifications.models import Dismissal, FlashRow, Mute, ReadMark
from app.reconciliation.models import Service


class Unknown(ValueError):
    """There is no such service, or no such message."""


def mark_read(session: Session, who: Actor, ids: Sequence[int] | None) -> int:
    """Mark these (None: all) as read, as far as this person sees them; how many were not read before."""
    unread = list(session.scalars(queries.unread_ids(who, ids)))
    now = utc_text()
    rows = [{"user_id": who.user_id, "notification_id": each, "at": now} for each in unread]
    if not rows:
        return 0
    session.execute(_insert(session, ReadMark).on_conflict_do_nothing(), rows)
    _tell(session, who)
    return len(rows)


def mute(session: Session, who: Actor, service: str, until: datetime | None) -> None:
    """Keep a service quiet for this person until then (None: let it speak again). Raises `Unknown`."""
    if session.scalar(sa.select(Service.id).where(Service.id == service)) is None:
        raise Unknown(service)
    if until is None or until <= utc_now():
        session.execute(sa.delete(Mute).where(Mute.user_id == who.user_id, Mute.service == service))
    else:
        insert = _insert(session, Mute).values(user_id=who.user_id, service=service, until=utc_text(until))
        put = insert.on_conflict_do_update(index_elements=["user_id", "service"], set_={"until": insert.excluded.until})
        session.execute(put)
    _tell(session, who)


def dismiss(session: Session, who: Actor, flash_id: str) -> None:
    """Put a message away in every tab of this person. Raises `Unknown`."""
    if session.get(FlashRow, flash_id) is None:
        raise Unknown(flash_id)
    insert = _insert(session, Dismissal).values(flash_id=flash_id, user_id=who.user_id)
    session.execute(insert.on_conflict_do_nothing())
    _tell(session, who)


def _insert(session: Session, table: type[ReadMark | Mute | Dismissal]) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if session.get_bind().dialect.name == "sqlite" else postgresql.insert(table)


def _tell(session: Session, who: Actor) -> None:
    append(session, [NewEvent("notification.changed", NotificationChanged(), f"user:{who.name}")])

"""What one person may notice: every query begins with what this person may see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.accounts.actors import Actor
from app.accounts.models import User
from app.infra.clock import utc_text
from app.notifications.models import Dismissal, FlashRow, Mute, Notification, ReadMark
from app.notifications.rules import MESSAGE, ROLLOUT
from app.reconciliation.models import Service

PANEL = 50
MOST_COUNTED = 100
MOST_FLASHES = 20
SEVERITY_WORDS = {"info": "Info", "warning": "Warning", "critical": "Critical"}
_TOPIC_NAMES = {MESSAGE: "Messages", ROLLOUT: "Rollout"}


@dataclass(frozen=True, slots=True)
class Item:
    """A notification as one person sees it. `silent`: its service is muted, so it does not count as unread."""

    id: int
    at: str
    severity: str
    group: str
    group_name: str
    service: str | None
    title: str
    body: str
    link: str | None
    read: bool
    silent: bool

    @property
    def is_unread(self) -> bool:
        return not self.read and not self.silent

    @property
    def word(self) -> str:
        return SEVERITY_WORDS[self.severity]

    def as_json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "createdAt": self.at,
            "severity": self.severity,
            "service": self.service,
            "title": self.title,
            "body": self.body,
            "link": self.link,
            "read": self.read,
            "muted": self.silent,
        }


@dataclass(frozen=True, slots=True)
class Group:
    """A service's notifications, or those of another kind; the group with the newest one comes first."""

    key: str
    name: str
    service: str | None
    muted_until: str | None
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which notifications; all parts must fit."""

    text: str = ""
    severity: str = ""
    service: str = ""
    unread: bool = False


@dataclass(frozen=True, slots=True)
class Flash:
    """An operator's message that has not ended."""

    id: str
    severity: str
    text: str
    actor: str
    expires_at: str

    @property
    def word(self) -> str:
        return SEVERITY_WORDS[self.severity]


def unread_count(session: Session, who: Actor) -> int:
    """Exact below `MOST_COUNTED`, which stands for that many or more."""
    unread = _seen_by(who).where(~_is_read(who), ~_is_silent(who)).with_only_columns(Notification.id)
    counted = unread.limit(MOST_COUNTED).subquery()
    return session.scalar(sa.select(sa.func.count()).select_from(counted)) or 0


def panel(session: Session, who: Actor) -> list[Group]:
    """The newest notifications, grouped by what they are about."""
    grouped: dict[str, list[Item]] = {}
    for item in _items(session, who, _seen_by(who), PANEL, 0):
        grouped.setdefault(item.group, []).append(item)
    mutes = mutes_of(session, who)
    return [
        Group(key, items[0].group_name, items[0].service, mutes.get(items[0].service or ""), items)
        for key, items in grouped.items()
    ]


def search(session: Session, who: Actor, wanted: Filter, page: int, limit: int) -> tuple[list[Item], int]:
    """A page of what fits, newest first, and how many fit."""
    fitting = _fitting(who, wanted)
    total = session.scalar(sa.select(sa.func.count()).select_from(fitting.subquery())) or 0
    return _items(session, who, fitting, limit, (page - 1) * limit), total


def mutes_of(session: Session, who: Actor) -> dict[str, str]:
    """Each muted service, and until when."""
    mine = sa.select(Mute.service, Mute.until).where(Mute.user_id == who.user_id, Mute.until > utc_text())
    return {row.service: row.until for row in session.execute(mine)}


def flashes(session: Session, who: Actor) -> list[Flash]:
    """Messages that have neither ended nor been put away by this person, newest first."""
    put_away = sa.select(Dismissal.flash_id).where(Dismissal.user_id == who.user_id)
    open_ = sa.select(FlashRow).where(FlashRow.expires_at > utc_text(), FlashRow.id.not_in(put_away))
    rows = session.scalars(open_.order_by(FlashRow.id.desc()).limit(MOST_FLASHES))
    return [Flash(row.id, row.severity, row.text, row.actor, row.expires_at) for row in rows]


def dismissed(session: Session, who: Actor) -> list[str]:
    """Messages that have not ended and that this person has put away."""
    running = sa.select(FlashRow.id).join(Dismissal, Dismissal.flash_id == FlashRow.id)
    mine = running.where(Dismissal.user_id == who.user_id, FlashRow.expires_at > utc_text())
    return list(session.scalars(mine.order_by(FlashRow.id)))


def _seen_by(who: Actor) -> sa.Select[Any]:
    """What was said before somebody came is no news for them."""
    joined = sa.select(User.created_at).where(User.id == who.user_id).scalar_subquery()
    mine = Notification.audience.in_(sorted(who.viewer.audiences))
    return sa.select(Notification).where(mine, Notification.created_at >= joined)


def unread_ids(who: Actor, ids: Sequence[int] | None) -> sa.Select[Any]:
    """The ids, of those that were named (None: of all), that this person sees and has not read."""
    unread = _seen_by(who).where(~_is_read(who)).with_only_columns(Notification.id)
    return unread if ids is None else unread.where(Notification.id.in_(ids))


def _is_read(who: Actor) -> sa.ColumnElement[bool]:
    mark = sa.select(ReadMark.notification_id)
    return mark.where(ReadMark.user_id == who.user_id, ReadMark.notification_id == Notification.id).exists()


def _is_silent(who: Actor) -> sa.ColumnElement[bool]:
    mute = sa.select(Mute.service).where(Mute.user_id == who.user_id, Mute.service == Notification.service)
    return mute.where(Notification.created_at < Mute.until).exists()


def _fitting(who: Actor, wanted: Filter) -> sa.Select[Any]:
    query = _seen_by(who)
    for word in wanted.text.split():
        fits = sa.or_(
            Notification.title.icontains(word, autoescape=True), Notification.body.icontains(word, autoescape=True)
        )
        query = query.where(fits)
    if wanted.severity:
        query = query.where(Notification.severity == wanted.severity)
    if wanted.service:
        query = query.where(Notification.service == wanted.service)
    if wanted.unread:
        query = query.where(~_is_read(who), ~_is_silent(who))
    return query


def _items(session: Session, who: Actor, query: sa.Select[Any], limit: int, offset: int) -> list[Item]:
    newest = query.add_columns(_is_read(who), _is_silent(who), Service.name)
    newest = newest.outerjoin(Service, Service.id == Notification.service)
    newest = newest.order_by(Notification.created_at.desc(), Notification.id.desc()).limit(limit).offset(offset)
    return [_item(*row) for row in session.execute(newest)]


def _item(row: Notification, read: bool, silent: bool, service_name: str | None) -> Item:
    group = row.service if row.service is not None else row.topic
    name = service_name or row.service or _TOPIC_NAMES.get(row.topic, row.topic)
    key = f"{row.topic}:{group}"
    return Item(
        row.id,
        row.created_at,
        row.severity,
        key,
        name,
        row.service,
        row.title,
        row.body,
        row.link,
        bool(read),
        bool(silent),
    )

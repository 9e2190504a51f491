"""Queries for one person's notifications; each starts from the rows that this person may see."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.accounts.actors import Actor
from app.accounts.models import User
from app.infra.clock import utc_text
from app.notifications.models import Dismissal, FlashRow, Mute, Notification, ReadMark
from app.notifications.notice_text import MESSAGE_TOPIC, ROLLOUT_TOPIC
from app.reconciliation.models import Service

PANEL_ITEMS = 50
MAX_COUNTED_UNREAD = 100
MAX_OPEN_MESSAGES = 20
SEVERITY_WORDS = {"info": "Info", "warning": "Warning", "critical": "Critical"}
_TOPIC_NAMES = {MESSAGE_TOPIC: "Messages", ROLLOUT_TOPIC: "Rollout"}


@dataclass(frozen=True, slots=True)
class NotificationItem:
    """A notification as one person sees it. If its service is muted, it does not count as unread."""

    id: int
    at: str
    severity: str
    group: str
    group_name: str
    service: str | None
    title: str
    body: str
    link: str | None
    is_read: bool
    is_muted: bool

    @property
    def is_unread(self) -> bool:
        return not self.is_read and not self.is_muted

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
            "read": self.is_read,
            "muted": self.is_muted,
        }


@dataclass(frozen=True, slots=True)
class NotificationGroup:
    """The notifications of a service, or of another topic. The group with the newest notification comes first."""

    key: str
    name: str
    service: str | None
    muted_until: str | None
    items: Sequence[NotificationItem]


@dataclass(frozen=True, slots=True)
class NotificationFilter:
    """Which notifications to show; all conditions must match."""

    text: str = ""
    severity: str = ""
    service: str = ""
    only_unread: bool = False


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


def count_unread(session: Session, who: Actor) -> int:
    """Exact below `MAX_COUNTED_UNREAD`, which means that many or more."""
    unread = _select_visible(who).where(~_is_read(who), ~_is_muted(who)).with_only_columns(Notification.id)
    counted = unread.limit(MAX_COUNTED_UNREAD).subquery()
    return session.scalar(sa.select(sa.func.count()).select_from(counted)) or 0


def panel_version(session: Session, who: Actor, unread: int) -> str:
    """A text that changes when the panel does: cheaper to compute than the panel, for those who ask often."""
    newest = session.scalar(_select_visible(who).with_only_columns(sa.func.max(Notification.id)))
    last_read = session.scalar(sa.select(sa.func.max(ReadMark.at)).where(ReadMark.user_id == who.user_id))
    parts = (who.user_id, who.login_id, newest, last_read, unread, sorted(load_mutes(session, who).items()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def load_panel(session: Session, who: Actor) -> list[NotificationGroup]:
    """The newest notifications, grouped by service or topic."""
    grouped: dict[str, list[NotificationItem]] = {}
    for item in _load_items(session, who, _select_visible(who), PANEL_ITEMS, 0):
        grouped.setdefault(item.group, []).append(item)
    mutes = load_mutes(session, who)
    return [
        NotificationGroup(key, items[0].group_name, items[0].service, mutes.get(items[0].service or ""), items)
        for key, items in grouped.items()
    ]


def search_notifications(
    session: Session, who: Actor, wanted: NotificationFilter, page: int, limit: int
) -> tuple[list[NotificationItem], int]:
    """A page of the matching notifications, newest first, and how many match."""
    matching = _select_matching(who, wanted)
    total = session.scalar(sa.select(sa.func.count()).select_from(matching.subquery())) or 0
    return _load_items(session, who, matching, limit, (page - 1) * limit), total


def load_mutes(session: Session, who: Actor) -> dict[str, str]:
    """Until when each muted service is muted, by its id."""
    mine = sa.select(Mute.service, Mute.until).where(Mute.user_id == who.user_id, Mute.until > utc_text())
    return {row.service: row.until for row in session.execute(mine)}


def load_open_messages(session: Session, who: Actor) -> list[Flash]:
    """Messages that have neither ended nor been dismissed by this person, newest first."""
    dismissed = sa.select(Dismissal.flash_id).where(Dismissal.user_id == who.user_id)
    open_ = sa.select(FlashRow).where(FlashRow.expires_at > utc_text(), FlashRow.id.not_in(dismissed))
    rows = session.scalars(open_.order_by(FlashRow.id.desc()).limit(MAX_OPEN_MESSAGES))
    return [Flash(row.id, row.severity, row.text, row.actor, row.expires_at) for row in rows]


def load_dismissed_ids(session: Session, who: Actor) -> list[str]:
    """Ids of the messages that have not ended and that this person has dismissed."""
    running = sa.select(FlashRow.id).join(Dismissal, Dismissal.flash_id == FlashRow.id)
    mine = running.where(Dismissal.user_id == who.user_id, FlashRow.expires_at > utc_text())
    return list(session.scalars(mine.order_by(FlashRow.id)))


def _select_visible(who: Actor) -> sa.Select[Any]:
    """Notifications for this person's audiences, without those from before their account was created."""
    joined = sa.select(User.created_at).where(User.id == who.user_id).scalar_subquery()
    mine = Notification.audience.in_(sorted(who.viewer.audiences))
    return sa.select(Notification).where(mine, Notification.created_at >= joined)


def select_unread_ids(who: Actor, ids: Sequence[int] | None) -> sa.Select[Any]:
    """The ids among `ids` (None: among all) that this person sees and has not read."""
    unread = _select_visible(who).where(~_is_read(who)).with_only_columns(Notification.id)
    return unread if ids is None else unread.where(Notification.id.in_(ids))


def _is_read(who: Actor) -> sa.ColumnElement[bool]:
    mark = sa.select(ReadMark.notification_id)
    return mark.where(ReadMark.user_id == who.user_id, ReadMark.notification_id == Notification.id).exists()


def _is_muted(who: Actor) -> sa.ColumnElement[bool]:
    mute = sa.select(Mute.service).where(Mute.user_id == who.user_id, Mute.service == Notification.service)
    return mute.where(Notification.created_at < Mute.until).exists()


def _select_matching(who: Actor, wanted: NotificationFilter) -> sa.Select[Any]:
    query = _select_visible(who)
    for word in wanted.text.split():
        matches = sa.or_(
            Notification.title.icontains(word, autoescape=True), Notification.body.icontains(word, autoescape=True)
        )
        query = query.where(matches)
    if wanted.severity:
        query = query.where(Notification.severity == wanted.severity)
    if wanted.service:
        query = query.where(Notification.service == wanted.service)
    if wanted.only_unread:
        query = query.where(~_is_read(who), ~_is_muted(who))
    return query


def _load_items(session: Session, who: Actor, query: sa.Select[Any], limit: int, offset: int) -> list[NotificationItem]:
    newest = query.add_columns(_is_read(who), _is_muted(who), Service.name)
    newest = newest.outerjoin(Service, Service.id == Notification.service)
    newest = newest.order_by(Notification.created_at.desc(), Notification.id.desc()).limit(limit).offset(offset)
    return [_build_item(*row) for row in session.execute(newest)]


def _build_item(row: Notification, is_read: bool, is_muted: bool, service_name: str | None) -> NotificationItem:
    group = row.service if row.service is not None else row.topic
    name = service_name or row.service or _TOPIC_NAMES.get(row.topic, row.topic)
    key = f"{row.topic}:{group}"
    return NotificationItem(
        row.id,
        row.created_at,
        row.severity,
        key,
        name,
        row.service,
        row.title,
        row.body,
        row.link,
        bool(is_read),
        bool(is_muted),
    )

"""Tables of notifications: read marks, mutes, the state of alerts, and operators' messages."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base

_BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_SEVERITY = "severity IN ('info', 'warning', 'critical')"


class Notification(Base):
    """One notification. `cause` identifies what it is about: the same cause never makes two."""

    __tablename__ = "notification"
    __table_args__ = (
        sa.CheckConstraint(_SEVERITY, name="severity"),
        sa.Index("ix_notification_created_at", "created_at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_BIG_ID, primary_key=True)
    cause: Mapped[str] = mapped_column(sa.Text, unique=True)
    created_at: Mapped[str] = mapped_column(sa.Text)
    audience: Mapped[str] = mapped_column(sa.Text)
    severity: Mapped[str] = mapped_column(sa.Text)
    topic: Mapped[str] = mapped_column(sa.Text)
    service: Mapped[str | None] = mapped_column(sa.Text)
    title: Mapped[str] = mapped_column(sa.Text)
    body: Mapped[str] = mapped_column(sa.Text)
    link: Mapped[str | None] = mapped_column(sa.Text)


class ReadMark(Base):
    """A person has read a notification. One row each, because ids may become visible out of order."""

    __tablename__ = "notification_read"

    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"), primary_key=True)
    notification_id: Mapped[int] = mapped_column(
        sa.ForeignKey("notification.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    at: Mapped[str] = mapped_column(sa.Text)


class Mute(Base):
    """Notifications of this service created before `until` never count as unread for this person."""

    __tablename__ = "notification_mute"

    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"), primary_key=True)
    service: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    until: Mapped[str] = mapped_column(sa.Text)


class DiscrepancyAlertRow(Base):
    """A discrepancy from its first poll to its end, as in `app.notifications.alert_state`.

    `told`: all of it is reported; until then `polls` counts. `named_json`: the reported jobs by kind. `notices`: how
    many notifications were made, `noticed_at`: when the last one was.
    """

    __tablename__ = "discrepancy_watch"

    service: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    cause: Mapped[str] = mapped_column(sa.Text)
    since: Mapped[str] = mapped_column(sa.Text)
    checked_at: Mapped[str] = mapped_column(sa.Text)
    polls: Mapped[int]
    told: Mapped[bool]
    named_json: Mapped[str | None] = mapped_column(sa.Text)
    notices: Mapped[int] = mapped_column(server_default="0")
    noticed_at: Mapped[str | None] = mapped_column(sa.Text)


class OutageRow(Base):
    """A service whose outage is reported, until it answers again. `is_flapping`: it was reported as flapping."""

    __tablename__ = "outage_watch"

    service: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    cause: Mapped[str] = mapped_column(sa.Text)
    since: Mapped[str] = mapped_column(sa.Text)
    is_flapping: Mapped[bool] = mapped_column(server_default=sa.false())


class QueueAlertRow(Base):
    """The queues without a worker that are reported, as in `app.notifications.queue_alerts`."""

    __tablename__ = "queue_watch"

    service: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    told_json: Mapped[str] = mapped_column(sa.Text)


class FlashRow(Base):
    """An operator's message to everybody, shown until it ends. Ids sort by time."""

    __tablename__ = "flash_message"
    __table_args__ = (
        sa.CheckConstraint(_SEVERITY, name="severity"),
        sa.Index("ix_flash_message_expires_at", "expires_at"),
    )

    id: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    severity: Mapped[str] = mapped_column(sa.Text)
    text: Mapped[str] = mapped_column(sa.Text)
    actor: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[str] = mapped_column(sa.Text)
    expires_at: Mapped[str] = mapped_column(sa.Text)


class Dismissal(Base):
    """A person has dismissed a message, in all of their tabs."""

    __tablename__ = "flash_dismissal"

    flash_id: Mapped[str] = mapped_column(sa.ForeignKey("flash_message.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"), primary_key=True)

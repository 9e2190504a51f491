"""A command, and each thing that it does. Only `app.commands` writes these rows."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base

PHASES = ("queued", "running", "unknown", "success", "error", "timeout")
OPEN = ("queued", "running", "unknown")
STATES = ("waiting", "running", "unknown", "done", "refused", "absent", "failed", "timeout")
_OPEN = sa.text("ended_at IS NULL")
# As SQLAlchemy writes it in queries: SQLite uses a partial index only for a condition in the same words.
_HELD, _HELD_SQLITE = sa.text("held"), sa.text("held = 1")


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class CommandRow(Base):
    """What somebody asked for, remembered by the id that they chose.

    `fence` grows whenever another runner takes it, `crashes` where the one before had not handed it over; `lease_until`
    (seconds since 1970, the database's) says how long the runner has it. `acted_at`: when the newest answer of the
    service was recorded.
    """

    __tablename__ = "command"
    __table_args__ = (
        sa.CheckConstraint(_one_of("phase", PHASES), name="phase"),
        sa.CheckConstraint("(ended_at IS NULL) = (phase IN ('queued', 'running', 'unknown'))", name="ended"),
        sa.Index("ix_command_open", "service_id", sqlite_where=_OPEN, postgresql_where=_OPEN),
        sa.Index("ix_command_created_at", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    body_hash: Mapped[str] = mapped_column(sa.Text)
    asked_json: Mapped[str] = mapped_column(sa.Text)
    action: Mapped[str] = mapped_column(sa.Text)
    service_id: Mapped[str] = mapped_column(sa.Text, sa.ForeignKey("service.id"))
    target: Mapped[str] = mapped_column(sa.Text)
    actor: Mapped[str] = mapped_column(sa.Text)
    phase: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[str] = mapped_column(sa.Text)
    started_at: Mapped[str | None] = mapped_column(sa.Text)
    ended_at: Mapped[str | None] = mapped_column(sa.Text)
    total: Mapped[int]
    done: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    at_most: Mapped[int | None]
    runner: Mapped[str | None] = mapped_column(sa.Text)
    fence: Mapped[int] = mapped_column(server_default="0")
    crashes: Mapped[int] = mapped_column(server_default="0")
    lease_until: Mapped[float] = mapped_column(sa.Double, server_default="0")
    acted_at: Mapped[float | None] = mapped_column(sa.Double)
    logs_json: Mapped[str] = mapped_column(sa.Text, server_default="[]")
    verified: Mapped[bool | None]
    before_json: Mapped[str | None] = mapped_column(sa.Text)
    after_json: Mapped[str | None] = mapped_column(sa.Text)
    accepted_audit_id: Mapped[str | None] = mapped_column(sa.Text)
    audit_id: Mapped[str | None] = mapped_column(sa.Text)


class ItemRow(Base):
    """One thing that a command does, in its `place`.

    `hold` names what nobody else may touch while `held`: one open item for each, by a unique index. `asked_at` and
    `deadline` are seconds since 1970 of the database's clock: when the service was about to be asked, and from when on
    that asking can change nothing any more. `confirmed`: whether reading showed the effect.
    """

    __tablename__ = "command_item"
    __table_args__ = (
        sa.CheckConstraint(_one_of("state", STATES), name="state"),
        sa.Index(
            "uq_command_item_held",
            "service_id",
            "hold",
            unique=True,
            sqlite_where=_HELD_SQLITE,
            postgresql_where=_HELD,
        ),
        sa.Index("ix_command_item_asked_at", "service_id", "asked_at"),
    )

    command_id: Mapped[str] = mapped_column(sa.Text, sa.ForeignKey("command.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    service_id: Mapped[str] = mapped_column(sa.Text)
    action: Mapped[str] = mapped_column(sa.Text)
    target: Mapped[str] = mapped_column(sa.Text)
    queue: Mapped[str | None] = mapped_column(sa.Text)
    hold: Mapped[str] = mapped_column(sa.Text)
    held: Mapped[bool]
    state: Mapped[str] = mapped_column(sa.Text)
    detail: Mapped[str] = mapped_column(sa.Text, server_default="")
    asked_at: Mapped[float | None] = mapped_column(sa.Double)
    deadline: Mapped[float | None] = mapped_column(sa.Double)
    effect_json: Mapped[str | None] = mapped_column(sa.Text)
    confirmed: Mapped[bool | None]

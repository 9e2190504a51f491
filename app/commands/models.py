"""Tables of commands and their items. Only `app.commands` writes them."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base

PHASES = ("queued", "running", "unknown", "success", "error", "timeout")
ITEM_STATES = ("waiting", "running", "unknown", "done", "refused", "absent", "failed", "timeout")
_OPEN = sa.text("ended_at IS NULL")
# As SQLAlchemy renders it in queries: SQLite uses a partial index only for a textually equal condition.
_HELD, _HELD_SQLITE = sa.text("held"), sa.text("held = 1")


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class CommandRow(Base):
    """A command, by the id that its requester chose.

    `fence` grows with each claim, `crashes` with each claim from a runner that had not handed the command over.
    `lease_until` is the end of the runner's lease. `acted_at` is when the newest answer of the service was recorded.
    Both are seconds since 1970 by the database's clock. `log_kinds_json` has the kind of each line in `logs_json`,
    which older workers write alone.
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
    log_kinds_json: Mapped[str] = mapped_column(sa.Text, server_default="[]")
    verified: Mapped[bool | None]
    before_json: Mapped[str | None] = mapped_column(sa.Text)
    after_json: Mapped[str | None] = mapped_column(sa.Text)
    accepted_audit_id: Mapped[str | None] = mapped_column(sa.Text)
    audit_id: Mapped[str | None] = mapped_column(sa.Text)


class ItemRow(Base):
    """One item of a command; `place` is its position.

    `hold` is the lock key: while `held` is set, a unique index allows no other open item with the same key. `asked_at`
    is when the request was about to be sent, `deadline` when it can no longer have an effect; both are seconds since
    1970 by the database's clock. `confirmed`: the effect was observed by reading the service.
    """

    __tablename__ = "command_item"
    __table_args__ = (
        sa.CheckConstraint(_one_of("state", ITEM_STATES), name="state"),
        sa.Index(
            "uq_command_item_held",
            "service_id",
            "hold",
            unique=True,
            sqlite_where=_HELD_SQLITE,
            postgresql_where=_HELD,
        ),
        sa.Index("ix_command_item_asked_at", "service_id", "asked_at"),
        sa.Index("ix_command_item_target", "service_id", "target"),
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

"""Tables of the audit. Triggers reject every update, and every delete that no checkpoint covers."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base

# Most entries belong to no command, so the index on command_id leaves them out.
_WHERE_COMMAND_ID = sa.text("command_id IS NOT NULL")


class AuditRow(Base):
    __tablename__ = "command_audit"
    # Each index contains all columns that can be filtered by, so that one index answers and counts any filter.
    __table_args__ = (
        sa.Index("ix_command_audit_actor", "actor", "seq", "action_type", "target", "outcome"),
        sa.Index("ix_command_audit_action_type", "action_type", "seq", "actor", "target", "outcome"),
        sa.Index("ix_command_audit_target", "target", "seq", "actor", "action_type", "outcome"),
        sa.Index("ix_command_audit_outcome", "outcome", "seq", "actor", "action_type", "target"),
        sa.Index("ix_command_audit_timestamp", "timestamp", "seq"),
        sa.Index(
            "ix_command_audit_command_id",
            "command_id",
            "seq",
            sqlite_where=_WHERE_COMMAND_ID,
            postgresql_where=_WHERE_COMMAND_ID,
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    timestamp: Mapped[str]
    actor: Mapped[str]
    action_type: Mapped[str]
    target: Mapped[str]
    outcome: Mapped[str]
    before_state_json: Mapped[str | None]
    after_state_json: Mapped[str | None]
    command_params_json: Mapped[str | None]
    logs_json: Mapped[str | None]
    seq: Mapped[int] = mapped_column(unique=True)
    stage: Mapped[str]
    command_id: Mapped[str | None]
    prev_hash: Mapped[str]
    hash: Mapped[str]
    origin: Mapped[str | None]


class Checkpoint(Base):
    """Entries through `through_seq` may be deleted. `seq` is the entry of the chain that says so."""

    __tablename__ = "audit_checkpoint"

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    through_seq: Mapped[int]
    through_hash: Mapped[str]


class AttemptCount(Base):
    """How often an attempt was repeated within a minute; written as one entry when the minute is over."""

    __tablename__ = "audit_gathered"

    action_type: Mapped[str] = mapped_column(primary_key=True)
    actor: Mapped[str] = mapped_column(primary_key=True)
    target: Mapped[str] = mapped_column(primary_key=True)
    origin: Mapped[str] = mapped_column(primary_key=True)
    minute: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]

"""The `command_audit` table. Its triggers refuse every update and delete."""

from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class AuditRow(Base):
    __tablename__ = "command_audit"

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

"""The rollout of each flag, as it stands; its history is in the log and the audit."""

from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class FlagRow(Base):
    __tablename__ = "flag"

    name: Mapped[str] = mapped_column(primary_key=True)
    enabled: Mapped[bool]
    percentage: Mapped[int]
    actor: Mapped[str]
    reason: Mapped[str]
    changed_at: Mapped[str]

"""The table that the readiness check writes to, to see whether the database accepts writes."""

from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class WriteProbe(Base):
    __tablename__ = "write_probe"

    id: Mapped[int] = mapped_column(primary_key=True)
    filler: Mapped[str]
    """Larger than a database page, because a write that needs no space would not notice a full disk."""

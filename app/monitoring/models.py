"""A row that readiness writes to see whether the database takes writes."""

from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class WriteProbe(Base):
    __tablename__ = "write_probe"

    id: Mapped[int] = mapped_column(primary_key=True)
    filler: Mapped[str]
    """More than a page of the database: a write that needs no room would not notice that there is none."""

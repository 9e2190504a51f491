"""The `stream_presence` table: each worker's number of open streams per user."""

from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class PresenceRow(Base):
    """One worker's open streams of one user. It counts only while `seen` (seconds since 1970) is recent."""

    __tablename__ = "stream_presence"
    # Without a rowid a worker's rows are adjacent, so renewing them all touches the fewest pages.
    __table_args__ = ({"sqlite_with_rowid": False},)

    worker: Mapped[str] = mapped_column(primary_key=True)
    user: Mapped[str] = mapped_column(primary_key=True, index=True)
    count: Mapped[int]
    seen: Mapped[float]

"""The `stream_presence` table: who has how many streams open where, as the workers say."""

from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class PresenceRow(Base):
    """One worker's open streams of one user. It counts only while `seen` (seconds since 1970) is young."""

    __tablename__ = "stream_presence"
    # Without a rowid a worker's rows lie side by side, and renewing them all touches the fewest pages.
    __table_args__ = ({"sqlite_with_rowid": False},)

    worker: Mapped[str] = mapped_column(primary_key=True)
    user: Mapped[str] = mapped_column(primary_key=True, index=True)
    count: Mapped[int]
    seen: Mapped[float]

"""The `event` table, its pruning floor and generations. Other programs insert into `event`: keep its columns."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base

# An Integer on SQLite, because only INTEGER PRIMARY KEY may be AUTOINCREMENT.
EventId = sa.BigInteger().with_variant(sa.Integer, "sqlite")
# As text: an index of some rows serves only a query that repeats its condition.
IS_DEPLOY = sa.text("substr(type, 1, 7) = 'deploy.'")


def build_activity_condition(dialect: str) -> str:
    """SQL that is true for events that people read: not for checks that only moved numbers.

    Events of earlier versions do not say so themselves; of those, checks of a verified service are left out.

    The same text for query and index, or a database would not use the index. JSON escapes quotes inside of texts, so
    these words only occur as keys and values.
    """
    position = "strpos" if dialect == "postgresql" else "instr"

    def has(words: str) -> str:
        return f"{position}(data_json, '{words}') > 0"

    same = f"""{has('"status":"verified"')} AND {has('"previousStatus":"verified"')} AND NOT {has('"findings":[{')}"""
    moved = f"""({has('"change":"figures"')} OR ({same}))"""
    return (
        "NOT (type IN ('reconciliation.verified', 'reconciliation.failures')"
        f" OR (type = 'reconciliation.update' AND {moved}))"
    )


class EventRow(Base):
    """One committed change. Never updated, and deleted by retention only; the migration's triggers enforce both."""

    __tablename__ = "event"
    __table_args__ = (
        # Between two events that people read may lie a million checks.
        sa.Index(
            "ix_event_activity",
            "id",
            sqlite_where=sa.text(build_activity_condition("sqlite")),
            postgresql_where=sa.text(build_activity_condition("postgresql")),
        ),
        sa.Index("ix_event_deploy", "created_at", sqlite_where=IS_DEPLOY, postgresql_where=IS_DEPLOY),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(EventId, primary_key=True)
    type: Mapped[str]
    audience: Mapped[str] = mapped_column(server_default="everyone")
    data_json: Mapped[str]
    created_at: Mapped[str]


class EventFloor(Base):
    """The highest id ever deleted, maintained by a trigger. A cursor below it has missed events."""

    __tablename__ = "event_floor"

    id: Mapped[int] = mapped_column(primary_key=True)
    pruned_through: Mapped[int] = mapped_column(EventId, server_default="0")


class EventGeneration(Base):
    """The log from `first_id` on, which lies above all ids handed out before; `after_id` was its last id then."""

    __tablename__ = "event_generation"

    id: Mapped[int] = mapped_column(primary_key=True)
    generation: Mapped[str]
    after_id: Mapped[int] = mapped_column(EventId)
    first_id: Mapped[int] = mapped_column(EventId)
    place: Mapped[str | None]
    """Identity of the database that began or first served this generation; None until a server has."""
    began_at: Mapped[str] = mapped_column(server_default="")

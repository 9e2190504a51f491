"""An index of the events that people read."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def _condition(position: str) -> sa.TextClause:
    def has(words: str) -> str:
        return f"{position}(data_json, '{words}') > 0"

    same = f"""{has('"status":"verified"')} AND {has('"previousStatus":"verified"')} AND NOT {has('"findings":[{')}"""
    moved = f"""({has('"change":"figures"')} OR ({same}))"""
    return sa.text(
        "NOT (type IN ('reconciliation.verified', 'reconciliation.failures')"
        f" OR (type = 'reconciliation.update' AND {moved}))"
    )


def upgrade() -> None:
    op.create_index(
        "ix_event_activity",
        "event",
        ["id"],
        sqlite_where=_condition("instr"),
        postgresql_where=_condition("strpos"),
    )


def downgrade() -> None:
    op.drop_index("ix_event_activity", "event")

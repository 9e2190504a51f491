"""What the record keeps of a change of state beyond its jobs, which rows are one episode, what people were told of."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("discrepancy_event", sa.Column("reason", sa.Text))
    op.add_column("discrepancy_event", sa.Column("findings_json", sa.Text))
    op.add_column("discrepancy_event", sa.Column("episode", sa.Text))
    going_on = sa.text("episode IS NOT NULL")
    op.create_index(
        "ix_discrepancy_event_episode",
        "discrepancy_event",
        ["episode"],
        sqlite_where=going_on,
        postgresql_where=going_on,
    )
    op.add_column("discrepancy_watch", sa.Column("named_json", sa.Text))
    op.add_column("discrepancy_watch", sa.Column("notices", sa.Integer, nullable=False, server_default="0"))
    op.add_column("discrepancy_watch", sa.Column("noticed_at", sa.Text))
    op.create_table(
        "outage_watch",
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("since", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("service", name="pk_outage_watch"),
    )


def downgrade() -> None:
    op.drop_table("outage_watch")
    for name in ("noticed_at", "notices", "named_json"):
        op.drop_column("discrepancy_watch", name)
    op.drop_index("ix_discrepancy_event_episode", "discrepancy_event")
    for name in ("episode", "findings_json", "reason"):
        op.drop_column("discrepancy_event", name)

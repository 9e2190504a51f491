"""Evidence of each step of a rollout, options of a plan, plans that are over, and limits set by people."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

COUNTERS = ("connects", "failures", "delivered", "slow")


def upgrade() -> None:
    # Defaults of the database: an older version that still runs writes plans without these columns.
    for name in ("options_json", "state_json"):
        op.add_column("rollout_plan", sa.Column(name, sa.Text, nullable=False, server_default="{}"))
    op.create_table(
        "rollout_witness",
        sa.Column("flag", sa.Text, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.Column("period", sa.BigInteger, nullable=False),
        sa.Column("cohort", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in COUNTERS),
        sa.Column("cut_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("flag", "since_ms", "period", "cohort", "person", name="pk_rollout_witness"),
    )
    op.create_table(
        "rollout_stage",
        sa.Column("flag", sa.Text, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("began_at", sa.Text, nullable=False),
        sa.Column("ended_at", sa.Text),
        sa.Column("percentage", sa.Float),
        sa.Column("reachable", sa.Integer, nullable=False),
        sa.Column("stream_minutes", sa.Float, nullable=False),
        sa.Column("evidence_json", sa.Text, nullable=False),
        sa.Column("slow_looks", sa.Integer, nullable=False),
        sa.Column("slow_looked_at", sa.Float, nullable=False),
        sa.Column("query_value", sa.Float),
        sa.Column("query_looks", sa.Integer, nullable=False),
        sa.Column("query_at", sa.Float, nullable=False),
        sa.Column("had_trouble", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("flag", "since_ms", name="pk_rollout_stage"),
    )
    op.create_table(
        "rollout_past_plan",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("flag", sa.Text, nullable=False),
        sa.Column("ended_at", sa.Text, nullable=False),
        sa.Column("plan_json", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rollout_past_plan"),
    )
    op.create_index("ix_rollout_past_plan_flag", "rollout_past_plan", ["flag", "id"])
    op.create_table(
        "rollout_limits",
        sa.Column("flag", sa.Text, nullable=False),
        sa.Column("limits_json", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("changed_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("flag", name="pk_rollout_limits"),
    )
    op.create_table(
        "rollout_webhook",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("retry_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_rollout_webhook"),
    )


def downgrade() -> None:
    op.drop_index("ix_rollout_past_plan_flag", "rollout_past_plan")
    for table in ("rollout_webhook", "rollout_limits", "rollout_past_plan", "rollout_stage", "rollout_witness"):
        op.drop_table(table)
    for name in ("state_json", "options_json"):
        op.drop_column("rollout_plan", name)

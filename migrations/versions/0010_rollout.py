"""What Unleash sent last, who holds it, who polls, the staged plan, the guardrail, what browsers report."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = (
    "client_report",
    "rollout_baseline",
    "guardrail",
    "rollout_plan",
    "polling_presence",
    "flag_held",
    "flag_intent",
    "flag_configuration",
)

BASELINE = ("from_minute", "until_minute", "attempts", "failures")


def upgrade() -> None:
    op.add_column("flag", sa.Column("level_since", sa.Float, nullable=False, server_default="0"))
    _flags()
    op.create_table(
        "polling_presence",
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("seen", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("user", name="pk_polling_presence"),
    )
    op.create_index("ix_polling_presence_seen", "polling_presence", ["seen"])
    op.create_table(
        "rollout_plan",
        sa.Column("flag", sa.Text, nullable=False),
        sa.Column("steps_json", sa.Text, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("paused_at", sa.Float),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("flag", name="pk_rollout_plan"),
    )
    op.create_table(
        "guardrail",
        sa.Column("flag", sa.Text, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("retry_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("flag", name="pk_guardrail"),
    )
    op.create_table(
        "rollout_baseline",
        sa.Column("flag", sa.Text, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in BASELINE),
        sa.PrimaryKeyConstraint("flag", name="pk_rollout_baseline"),
    )
    numbers = ("reports", "attempts", "failures", "fallbacks", "reconnects")
    op.create_table(
        "client_report",
        sa.Column("minute", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("cohort", sa.Text, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in numbers),
        sa.Column("hello_json", sa.Text, nullable=False),
        sa.Column("lag_json", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("minute", "cohort", name="pk_client_report"),
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    op.drop_column("flag", "level_since")


def _flags() -> None:
    op.create_table(
        "flag_configuration",
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("state_json", sa.Text, nullable=False),
        sa.Column("kept_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("source", name="pk_flag_configuration"),
    )
    op.create_table(
        "flag_intent",
        sa.Column("change", sa.Text, nullable=False),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("flag", sa.Text, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("percentage", sa.Integer, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("is_made", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("change", "stage", name="pk_flag_intent"),
    )
    op.create_table(
        "flag_held",
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("nominal_json", sa.Text, nullable=False),
        sa.Column("seen", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("worker", name="pk_flag_held"),
    )

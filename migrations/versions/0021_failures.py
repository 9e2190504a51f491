"""Failed jobs and their causes."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_UNREAD = sa.text("read_at IS NULL AND gone_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "failed_job",
        sa.Column("service_id", sa.Text, sa.ForeignKey("service.id"), primary_key=True),
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("seen_at", sa.Text, nullable=False),
        sa.Column("gone_at", sa.Text),
        sa.Column("read_at", sa.Text),
        sa.Column("failed_at", sa.Text),
        sa.Column("group_id", sa.Text),
        sa.Column("queue", sa.Text),
        sa.Column("worker", sa.Text),
        sa.Column("message", sa.Text),
        sa.Column("attempt", sa.BigInteger),
        sa.Column("max_attempts", sa.BigInteger),
        sa.Column("run_s", sa.Double),
    )
    op.create_index(
        "ix_failed_job_unread",
        "failed_job",
        ["service_id", "seen_at"],
        sqlite_where=_UNREAD,
        postgresql_where=_UNREAD,
    )
    op.create_index("ix_failed_job_group", "failed_job", ["group_id", "failed_at"])
    op.create_index("ix_failed_job_recent", "failed_job", ["failed_at", "group_id"])
    op.create_index("ix_failed_job_gone", "failed_job", ["gone_at"])
    op.create_table(
        "failure_group",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("service_id", sa.Text, sa.ForeignKey("service.id"), nullable=False),
        sa.Column("function", sa.Text),
        sa.Column("error_type", sa.Text),
        sa.Column("message", sa.Text),
        sa.Column("frame", sa.Text),
        sa.Column("jobs", sa.Integer, nullable=False, server_default="0"),
        sa.Column("first_at", sa.Text, nullable=False),
        sa.Column("last_at", sa.Text, nullable=False),
        sa.Column("muted_until", sa.Text),
        sa.Column("muted_by", sa.Text),
    )
    op.create_index("ix_failure_group_service", "failure_group", ["service_id", "jobs"])


def downgrade() -> None:
    op.drop_table("failure_group")
    op.drop_table("failed_job")

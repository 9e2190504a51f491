"""What the failed jobs of a cause share, as kept counts; and an index of the deploys in the log."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_IS_DEPLOY = sa.text("substr(type, 1, 7) = 'deploy.'")
_IS_OPEN = sa.text("gone_at IS NULL")
_IS_GONE = sa.text("gone_at IS NOT NULL")
_NAMES = {
    "queue": "substr(queue, 1, 500)",
    "worker": "substr(worker, 1, 500)",
    "attempt": "CAST(attempt AS TEXT) || '/' || coalesce(CAST(max_attempts AS TEXT), '')",
}


def upgrade() -> None:
    op.create_table(
        "failure_share",
        sa.Column("group_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("jobs", sa.Integer, nullable=False),
    )
    for kind, name in _NAMES.items():
        op.execute(
            f"INSERT INTO failure_share (group_id, kind, name, jobs) SELECT group_id, '{kind}', {name}, count(*)"  # noqa: S608 -- the constants above
            f" FROM failed_job WHERE gone_at IS NULL AND group_id IS NOT NULL AND coalesce({name}, '') <> ''"
            f" GROUP BY group_id, {name}"
        )
    op.create_index(
        "ix_failed_job_open",
        "failed_job",
        ["group_id", "failed_at", "job_id"],
        sqlite_where=_IS_OPEN,
        postgresql_where=_IS_OPEN,
    )
    op.drop_index("ix_failed_job_gone", "failed_job")
    op.create_index("ix_failed_job_gone", "failed_job", ["gone_at"], sqlite_where=_IS_GONE, postgresql_where=_IS_GONE)
    op.create_index("ix_event_deploy", "event", ["created_at"], sqlite_where=_IS_DEPLOY, postgresql_where=_IS_DEPLOY)


def downgrade() -> None:
    op.drop_index("ix_event_deploy", "event")
    op.drop_index("ix_failed_job_gone", "failed_job")
    op.create_index("ix_failed_job_gone", "failed_job", ["gone_at"])
    op.drop_index("ix_failed_job_open", "failed_job")
    op.drop_table("failure_share")

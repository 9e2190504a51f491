"""What is watched, what is believed of it, and the right to poll."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _registry()
    _known()
    _open_items()
    _samples()
    op.create_table(
        "lease",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_lease"),
    )


def _registry() -> None:
    op.create_table(
        "service",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("options_json", sa.Text, nullable=False, server_default="{}"),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("registered_at", sa.Text, nullable=False),
        sa.Column("removed_at", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_service"),
        sa.CheckConstraint("origin IN ('file', 'admin')", name="ck_service_origin"),
    )
    op.create_table(
        "service_state",
        sa.Column("service_id", sa.Text, sa.ForeignKey("service.id"), nullable=False),
        sa.Column("version", sa.Integer, nullable=False, server_default="0"),
        sa.Column("status", sa.Text),
        sa.Column("payload_json", sa.Text),
        sa.Column("checked_at", sa.Text),
        sa.Column("last_verified_at", sa.Text),
        sa.Column("latency_ms", sa.Integer),
        sa.Column("last_poll_at", sa.Text),
        sa.Column("last_answer_at", sa.Text),
        sa.Column("failing_since", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("waited_ms", sa.Integer),
        sa.Column("heard_at", sa.Text),
        sa.Column("instance_id", sa.Text),
        sa.Column("as_of", sa.Text),
        sa.Column("revision", sa.Text),
        sa.Column("counts_only", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("service_id", name="pk_service_state"),
        sa.CheckConstraint("status IN ('verified', 'stale', 'discrepancy')", name="ck_service_state_status"),
    )


def _known() -> None:
    op.create_table(
        "known_job",
        sa.Column("service_id", sa.Text, sa.ForeignKey("service.id"), nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("queue", sa.Text),
        sa.Column("attempt", sa.BigInteger),
        sa.Column("seen_at", sa.Text),
        sa.PrimaryKeyConstraint("service_id", "job_id", name="pk_known_job"),
    )


def _open_items() -> None:
    op.create_table(
        "open_item",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("service_id", sa.Text, sa.ForeignKey("service.id"), nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("since", sa.Text, nullable=False),
        sa.Column("last_state", sa.Text, nullable=False),
        sa.Column("queue", sa.Text),
        sa.Column("closed_at", sa.Text),
        sa.Column("closed_how", sa.Text),
        sa.Column("closed_by", sa.Text),
        sa.Column("close_reason", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_open_item"),
        sa.CheckConstraint("kind IN ('missing', 'unaccounted')", name="ck_open_item_kind"),
        sa.CheckConstraint(
            "closed_how IN ('reappeared', 'finished', 'accepted', 'expired')", name="ck_open_item_closed_how"
        ),
        sa.CheckConstraint("(closed_at IS NULL) = (closed_how IS NULL)", name="ck_open_item_closed"),
    )
    # One open item for the same trouble, however many polls see it.
    op.create_index(
        "uq_open_item_open",
        "open_item",
        ["service_id", "job_id", "kind"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )


def _samples() -> None:
    op.create_table(
        "check_sample",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("service_id", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("ok", sa.Boolean, nullable=False),
        sa.Column("status", sa.Text),
        sa.Column("latency_ms", sa.Integer, nullable=False),
        sa.Column("counts_json", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_check_sample"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_check_sample_service_id", "check_sample", ["service_id", "at"])
    op.create_index("ix_check_sample_at", "check_sample", ["at"])


def downgrade() -> None:
    raise NotImplementedError("the record of services is kept: restore a backup instead")

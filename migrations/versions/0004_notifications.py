"""What people should notice, what they have read and muted, and operators' messages."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_SEVERITY = "severity IN ('info', 'warning', 'critical')"
_BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _notifications()
    _personal()
    _flash()
    op.create_table(
        "discrepancy_watch",
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("since", sa.Text, nullable=False),
        sa.Column("checked_at", sa.Text, nullable=False),
        sa.Column("polls", sa.Integer, nullable=False),
        sa.Column("told", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("service", name="pk_discrepancy_watch"),
    )


def _notifications() -> None:
    op.create_table(
        "notification",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("service", sa.Text),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("link", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_notification"),
        sa.UniqueConstraint("cause", name="uq_notification_cause"),
        sa.CheckConstraint(_SEVERITY, name="ck_notification_severity"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notification_created_at", "notification", ["created_at"])


def _personal() -> None:
    op.create_table(
        "notification_read",
        sa.Column("user_id", sa.Integer, sa.ForeignKey("user.id"), nullable=False),
        sa.Column("notification_id", _BIG_ID, sa.ForeignKey("notification.id", ondelete="CASCADE"), nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "notification_id", name="pk_notification_read"),
    )
    op.create_index("ix_notification_read_notification_id", "notification_read", ["notification_id"])
    op.create_table(
        "notification_mute",
        sa.Column("user_id", sa.Integer, sa.ForeignKey("user.id"), nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("until", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "service", name="pk_notification_mute"),
    )


def _flash() -> None:
    op.create_table(
        "flash_message",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flash_message"),
        sa.CheckConstraint(_SEVERITY, name="ck_flash_message_severity"),
    )
    op.create_index("ix_flash_message_expires_at", "flash_message", ["expires_at"])
    op.create_table(
        "flash_dismissal",
        sa.Column("flash_id", sa.Text, sa.ForeignKey("flash_message.id", ondelete="CASCADE"), nullable=False),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("user.id"), nullable=False),
        sa.PrimaryKeyConstraint("flash_id", "user_id", name="pk_flash_dismissal"),
    )


def downgrade() -> None:
    for table in (
        "discrepancy_watch",
        "flash_dismissal",
        "flash_message",
        "notification_mute",
        "notification_read",
        "notification",
    ):
        op.drop_table(table)

"""Commands, and each thing that they do."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_PHASES = "phase IN ('queued', 'running', 'unknown', 'success', 'error', 'timeout')"
_ENDED = "(ended_at IS NULL) = (phase IN ('queued', 'running', 'unknown'))"
_STATES = "state IN ('waiting', 'running', 'unknown', 'done', 'refused', 'absent', 'failed', 'timeout')"


def upgrade() -> None:
    op.create_table(
        "command",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("body_hash", sa.Text, nullable=False),
        sa.Column("asked_json", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("service_id", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("started_at", sa.Text),
        sa.Column("ended_at", sa.Text),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("done", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failed", sa.Integer, nullable=False, server_default="0"),
        sa.Column("at_most", sa.Integer),
        sa.Column("runner", sa.Text),
        sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
        sa.Column("crashes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lease_until", sa.Double, nullable=False, server_default="0"),
        sa.Column("acted_at", sa.Double),
        sa.Column("logs_json", sa.Text, nullable=False, server_default="[]"),
        sa.Column("verified", sa.Boolean),
        sa.Column("before_json", sa.Text),
        sa.Column("after_json", sa.Text),
        sa.Column("accepted_audit_id", sa.Text),
        sa.Column("audit_id", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_command"),
        sa.ForeignKeyConstraint(["service_id"], ["service.id"], name="fk_command_service_id_service"),
        sa.CheckConstraint(_PHASES, name="ck_command_phase"),
        sa.CheckConstraint(_ENDED, name="ck_command_ended"),
    )
    open_ = sa.text("ended_at IS NULL")
    op.create_index("ix_command_open", "command", ["service_id"], sqlite_where=open_, postgresql_where=open_)
    op.create_index("ix_command_created_at", "command", ["created_at", "id"])
    _items()


def _items() -> None:
    op.create_table(
        "command_item",
        sa.Column("command_id", sa.Text, nullable=False),
        sa.Column("place", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("service_id", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("queue", sa.Text),
        sa.Column("hold", sa.Text, nullable=False),
        sa.Column("held", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.Column("asked_at", sa.Double),
        sa.Column("deadline", sa.Double),
        sa.Column("effect_json", sa.Text),
        sa.Column("confirmed", sa.Boolean),
        sa.PrimaryKeyConstraint("command_id", "place", name="pk_command_item"),
        sa.ForeignKeyConstraint(
            ["command_id"], ["command.id"], name="fk_command_item_command_id_command", ondelete="CASCADE"
        ),
        sa.CheckConstraint(_STATES, name="ck_command_item_state"),
    )
    op.create_index(
        "uq_command_item_held",
        "command_item",
        ["service_id", "hold"],
        unique=True,
        sqlite_where=sa.text("held = 1"),  # as queries write it: no other words let SQLite use the index
        postgresql_where=sa.text("held"),
    )
    op.create_index("ix_command_item_asked_at", "command_item", ["service_id", "asked_at"])


def downgrade() -> None:
    op.drop_table("command_item")
    op.drop_table("command")

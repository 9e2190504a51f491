"""Indexes for the history of one job: its items, closed ones too, and the commands that touched it."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_open_item_job", "open_item", ["service_id", "job_id"])
    op.create_index("ix_command_item_target", "command_item", ["service_id", "target"])


def downgrade() -> None:
    op.drop_index("ix_command_item_target", "command_item")
    op.drop_index("ix_open_item_job", "open_item")

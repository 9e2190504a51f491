"""The record is read by when its items were opened and closed."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_open_item_closed_at", "open_item", ["service_id", "closed_at"])
    op.create_index("ix_open_item_since", "open_item", ["kind", "since", "service_id"])


def downgrade() -> None:
    op.drop_index("ix_open_item_since", "open_item")
    op.drop_index("ix_open_item_closed_at", "open_item")

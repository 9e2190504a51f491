"""The record is read by when its items were opened and closed, by what is still open, and by its rarest state."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_open_item_closed_at", "open_item", ["service_id", "closed_at"])
    op.create_index("ix_open_item_since", "open_item", ["kind", "since", "service_id"])
    op.create_index("ix_open_item_service", "open_item", ["kind", "service_id", "since"])
    still = sa.text("closed_at IS NULL")
    columns = ["kind", "since", "service_id"]
    op.create_index("ix_open_item_still", "open_item", columns, sqlite_where=still, postgresql_where=still)
    op.create_index("ix_discrepancy_event_status", "discrepancy_event", ["status", "timestamp", "id"])
    op.create_index("ix_discrepancy_event_each", "discrepancy_event", ["status", "service", "timestamp", "id"])


def downgrade() -> None:
    op.drop_index("ix_discrepancy_event_each", "discrepancy_event")
    op.drop_index("ix_discrepancy_event_status", "discrepancy_event")
    op.drop_index("ix_open_item_still", "open_item")
    op.drop_index("ix_open_item_service", "open_item")
    op.drop_index("ix_open_item_since", "open_item")
    op.drop_index("ix_open_item_closed_at", "open_item")

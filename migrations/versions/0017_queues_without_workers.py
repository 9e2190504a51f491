"""Since when no worker has served a queue, and which of them people were told of."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("service_state", sa.Column("unserved_json", sa.Text))
    op.create_table(
        "queue_watch",
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("told_json", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("service", name="pk_queue_watch"),
    )


def downgrade() -> None:
    op.drop_table("queue_watch")
    op.drop_column("service_state", "unserved_json")

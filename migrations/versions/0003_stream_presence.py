"""Who has how many streams open where."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stream_presence",
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("seen", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("worker", "user", name="pk_stream_presence"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_stream_presence_user", "stream_presence", ["user"])


def downgrade() -> None:
    op.drop_table("stream_presence")

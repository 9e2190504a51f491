"""What each line of a command's log is: progress, a request to the service, or the outcome."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("command", sa.Column("log_kinds_json", sa.Text, nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("command", "log_kinds_json")

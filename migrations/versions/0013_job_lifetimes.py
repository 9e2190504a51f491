"""For how long a known job can still be seen once it has ended, where the job itself says so."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("known_job", sa.Column("kept_s", sa.Double))


def downgrade() -> None:
    op.drop_column("known_job", "kept_s")

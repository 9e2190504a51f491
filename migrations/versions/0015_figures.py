"""What the newest look of a service counted, which queues a bound hides, and a loss that is open."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

COLUMNS = ("figures_json", "cut_json", "loss_json")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("service_state", sa.Column(name, sa.Text))


def downgrade() -> None:
    for name in reversed(COLUMNS):
        op.drop_column("service_state", name)

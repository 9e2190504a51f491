"""Percentages as Unleash has them: 12.5 too, and none where no single number says it. Programs that poll count too."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TABLES = ("flag", "flag_intent")


def upgrade() -> None:
    for table in TABLES:
        with op.batch_alter_table(table) as batch:
            batch.alter_column("percentage", existing_type=sa.Integer, type_=sa.Float, nullable=True)
    op.add_column("polling_presence", sa.Column("program_seen", sa.Float, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("polling_presence", "program_seen")
    for table in TABLES:
        op.execute(sa.text(f"UPDATE {table} SET percentage = round(coalesce(percentage, 0))"))  # noqa: S608 -- our names
        with op.batch_alter_table(table) as batch:
            batch.alter_column("percentage", existing_type=sa.Float, type_=sa.Integer, nullable=False)

"""A log has a generation, because ids cannot tell a restored one from the one before; and a row to try writing with."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    table = op.create_table(
        "event_generation",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("generation", sa.Text, nullable=False),
        sa.Column("after_id", sa.BigInteger, nullable=False),
        sa.Column("first_id", sa.BigInteger, nullable=False),
        sa.Column("place", sa.Text),
        sa.Column("began_at", sa.Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_event_generation"),
    )
    # What there is belongs to the first generation, which leaves out no ids.
    op.bulk_insert(table, [{"generation": secrets.token_hex(4), "after_id": 0, "first_id": 1}])
    op.create_table(
        "write_probe",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("filler", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_write_probe"),
    )


def downgrade() -> None:
    op.drop_table("write_probe")
    op.drop_table("event_generation")

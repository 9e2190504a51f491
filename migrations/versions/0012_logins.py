"""Failed logins by name, address and browser, with waits that grow; when a person last used a login
session; what ends signed tokens with their user's other credentials."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("failed_login")
    op.create_table(
        "login_throttle",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("failures", sa.Float, nullable=False),
        sa.Column("last_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", name="pk_login_throttle"),
    )
    op.create_index("ix_login_throttle_last_at", "login_throttle", ["last_at"])
    op.add_column("user", sa.Column("credential_generation", sa.Integer, nullable=False, server_default="0"))
    # The sessions of today go on: nobody knows when they were last used.
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    op.add_column("login_session", sa.Column("last_active_at", sa.Text, nullable=False, server_default=now))
    session = sa.table("login_session", sa.column("expires_at"), sa.column("ended_at"))
    expired = sa.and_(session.c.ended_at.is_(None), session.c.expires_at <= now)
    op.execute(sa.update(session).where(expired).values(ended_at=session.c.expires_at))


def downgrade() -> None:
    op.drop_column("login_session", "last_active_at")
    op.drop_column("user", "credential_generation")
    op.drop_table("login_throttle")
    op.create_table(
        "failed_login",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("minute", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", "address", "minute", name="pk_failed_login"),
    )

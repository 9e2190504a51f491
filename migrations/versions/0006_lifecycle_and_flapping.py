"""What published events add to the belief, jobs that are there though they finished, and states that flap."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KINDS = ("kind", "kind IN ('missing', 'extra', 'unaccounted')", "kind IN ('missing', 'unaccounted')")
HOW = (
    "closed_how",
    "closed_how IN ('reappeared', 'finished', 'requeued', 'accepted', 'expired')",
    "closed_how IN ('reappeared', 'finished', 'accepted', 'expired')",
)
CLOSED = "(closed_at IS NULL) = (closed_how IS NULL)"
COLUMNS = "id, service_id, job_id, kind, since, last_state, queue, closed_at, closed_how, closed_by, close_reason"


def upgrade() -> None:
    op.add_column("service_state", sa.Column("log_cursor", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("service_state", sa.Column("flapping_json", sa.Text))
    op.add_column("known_job", sa.Column("ended_id", sa.BigInteger))
    # What was published before is no news: whoever polls first goes on from here.
    op.execute("UPDATE service_state SET log_cursor = (SELECT coalesce(max(id), 0) FROM event)")
    if op.get_bind().dialect.name == "sqlite":
        _copied(KINDS[1], HOW[1])
    else:
        _checked(KINDS[1], HOW[1])


def downgrade() -> None:
    op.execute("UPDATE open_item SET closed_how = 'reappeared' WHERE closed_how = 'requeued'")
    op.execute("DELETE FROM open_item WHERE kind = 'extra'")
    if op.get_bind().dialect.name == "sqlite":
        _copied(KINDS[2], HOW[2])
    else:
        _checked(KINDS[2], HOW[2])
    op.drop_column("known_job", "ended_id")
    op.drop_column("service_state", "flapping_json")
    op.drop_column("service_state", "log_cursor")


def _checked(kinds: str, how: str) -> None:
    for name, condition in ((KINDS[0], kinds), (HOW[0], how)):
        op.drop_constraint(f"ck_open_item_{name}", "open_item", type_="check")
        op.create_check_constraint(f"ck_open_item_{name}", "open_item", condition)


def _copied(kinds: str, how: str) -> None:
    """SQLite changes no constraint: the rows move to a new table. This one has no triggers that could be lost."""
    op.drop_index("uq_open_item_open", "open_item")
    op.rename_table("open_item", "open_item_before")
    op.create_table(
        "open_item",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("service_id", sa.Text, sa.ForeignKey("service.id"), nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("since", sa.Text, nullable=False),
        sa.Column("last_state", sa.Text, nullable=False),
        sa.Column("queue", sa.Text),
        sa.Column("closed_at", sa.Text),
        sa.Column("closed_how", sa.Text),
        sa.Column("closed_by", sa.Text),
        sa.Column("close_reason", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_open_item"),
        sa.CheckConstraint(kinds, name="ck_open_item_kind"),
        sa.CheckConstraint(how, name="ck_open_item_closed_how"),
        sa.CheckConstraint(CLOSED, name="ck_open_item_closed"),
    )
    op.execute(f"INSERT INTO open_item ({COLUMNS}) SELECT {COLUMNS} FROM open_item_before")  # noqa: S608 -- constants
    op.drop_table("open_item_before")
    op.create_index(
        "uq_open_item_open",
        "open_item",
        ["service_id", "job_id", "kind"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
    )

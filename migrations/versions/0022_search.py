"""Full-text indexes of the messages of failed jobs, indexes for beginnings of ids, and where jobs have failed.

SQLite: the messages are in an FTS5 table without content. Triggers keep it, so older code keeps it too while it still
runs on this schema. PostgreSQL: an index on the words of the column; and operator classes that find beginnings under
every collation.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_HAS_TEXT = sa.text("text_id IS NOT NULL")
# Splits at every character of ASCII that is no letter and no digit, as the tokenizer `ascii` of SQLite does.
_WORDS = (
    "to_tsvector('simple', regexp_replace(message, "
    r"'[\u0001-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u007F]+', ' ', 'g'))"
)
_REMOVE = "INSERT INTO failure_text (failure_text, rowid, message) SELECT 'delete', OLD.text_id, OLD.message"
_MINE = "WHERE service_id = NEW.service_id AND job_id = NEW.job_id"
# One for each event: the order of several would be undefined.
_TRIGGERS = (
    f"""CREATE TRIGGER failed_job_text_insert AFTER INSERT ON failed_job WHEN NEW.message IS NOT NULL BEGIN
    INSERT INTO failure_text (message) VALUES (NEW.message);
    UPDATE failed_job SET text_id = last_insert_rowid() {_MINE};
    END""",  # noqa: S608 -- no input
    f"""CREATE TRIGGER failed_job_text_update AFTER UPDATE OF message ON failed_job
    WHEN NEW.message IS NOT OLD.message BEGIN
    {_REMOVE} WHERE OLD.text_id IS NOT NULL;
    INSERT INTO failure_text (message) SELECT NEW.message WHERE NEW.message IS NOT NULL;
    UPDATE failed_job SET text_id = CASE WHEN NEW.message IS NOT NULL THEN last_insert_rowid() END {_MINE};
    END""",  # noqa: S608 -- no input
    f"""CREATE TRIGGER failed_job_text_delete AFTER DELETE ON failed_job WHEN OLD.text_id IS NOT NULL BEGIN
    {_REMOVE};
    END""",
)


def upgrade() -> None:
    op.create_table(
        "failure_location",
        sa.Column("service_id", sa.Text, sa.ForeignKey("service.id"), primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("last_at", sa.Text, nullable=False),
        sa.CheckConstraint("kind IN ('queue', 'worker')", name="kind"),
    )
    op.create_index("ix_failure_location_last_at", "failure_location", ["last_at"])
    for kind in ("queue", "worker"):
        op.execute(
            f"INSERT INTO failure_location SELECT service_id, '{kind}', {kind}, max(failed_at) FROM failed_job"  # noqa: S608 -- no input
            f" WHERE {kind} IS NOT NULL AND failed_at IS NOT NULL GROUP BY service_id, {kind}"
        )
    op.create_index("ix_failure_group_last_at", "failure_group", ["last_at", "id"])
    op.add_column("failed_job", sa.Column("text_id", sa.BigInteger))
    if op.get_bind().dialect.name == "sqlite":
        _upgrade_sqlite()
    else:
        op.execute(f"CREATE INDEX ix_failed_job_words ON failed_job USING gin ({_WORDS})")
        op.execute("CREATE INDEX ix_failed_job_id_prefix ON failed_job (job_id text_pattern_ops)")
        op.execute("CREATE INDEX ix_known_job_id_prefix ON known_job (job_id text_pattern_ops)")
        op.execute("CREATE INDEX ix_command_id_prefix ON command (id text_pattern_ops)")


def _upgrade_sqlite() -> None:
    op.create_index("ix_failed_job_text", "failed_job", ["text_id"], unique=True, sqlite_where=_HAS_TEXT)
    if not _has_fts5():
        return  # searches then say that messages are not searched
    op.execute("CREATE VIRTUAL TABLE failure_text USING fts5(message, content='', tokenize='ascii', detail='none')")
    op.execute("UPDATE failed_job SET text_id = rowid WHERE message IS NOT NULL")
    messages = "SELECT text_id, message FROM failed_job WHERE text_id IS NOT NULL"
    op.execute(f"INSERT INTO failure_text (rowid, message) {messages}")
    for trigger in _TRIGGERS:
        op.execute(trigger)


def _has_fts5() -> bool:
    """Nearly every SQLite has it."""
    found = op.get_bind().execute(sa.text("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"))
    return found.scalar() is not None


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name in ("insert", "update", "delete"):
            op.execute(f"DROP TRIGGER IF EXISTS failed_job_text_{name}")
        op.execute("DROP TABLE IF EXISTS failure_text")
        op.drop_index("ix_failed_job_text", "failed_job")
    else:
        for name in ("failed_job_words", "failed_job_id_prefix", "known_job_id_prefix", "command_id_prefix"):
            op.execute(f"DROP INDEX ix_{name}")
    op.drop_column("failed_job", "text_id")
    op.drop_index("ix_failure_group_last_at", "failure_group")
    op.drop_table("failure_location")

"""The log, people, flags and the audit, with the rules that the database itself keeps."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# ISO 8601, UTC, milliseconds: the same text from either database and from the application.
NOW = {
    "sqlite": "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
    "postgresql": """to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')""",
}


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    now = sa.text(NOW[dialect])
    _event(dialect, now)
    _people()
    _flag()
    _audit(dialect, now)


def _event(dialect: str, now: sa.TextClause) -> None:
    # ALWAYS, CACHE 1: nobody chooses an id, and ids are handed out in the order of the lock below.
    identity = [sa.Identity(always=True, cache=1)] if dialect == "postgresql" else []
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), *identity, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("audience", sa.Text, nullable=False, server_default="everyone"),
        sa.Column("data_json", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "event_floor",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("pruned_through", sa.BigInteger, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_event_floor"),
        sa.CheckConstraint("id = 1", name="ck_event_floor_one_row"),
    )
    op.execute("INSERT INTO event_floor (id, pruned_through) VALUES (1, 0)")
    for statement in EVENT_RULES[dialect]:
        op.execute(statement)


def _people() -> None:
    op.create_table(
        "user",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("disabled_at", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_user"),
        sa.UniqueConstraint("name", name="uq_user_name"),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'product', 'admin')", name="ck_user_role"),
    )
    op.create_table(
        "login_session",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("user.id"), nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Text, nullable=False),
        sa.Column("ended_at", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_login_session"),
    )
    op.create_index("ix_login_session_user_id", "login_session", ["user_id"])
    op.create_table(
        "api_token",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("user.id"), nullable=False),
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Text),
        sa.Column("revoked_at", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_api_token"),
        sa.UniqueConstraint("token_hash", name="uq_api_token_token_hash"),
    )
    op.create_index("ix_api_token_user_id", "api_token", ["user_id"])
    op.create_table(
        "failed_login",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("minute", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", "address", "minute", name="pk_failed_login"),
    )


def _flag() -> None:
    op.create_table(
        "flag",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("percentage", sa.Integer, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("changed_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_flag"),
        sa.CheckConstraint("percentage BETWEEN 0 AND 100", name="ck_flag_percentage"),
    )


def _audit(dialect: str, now: sa.TextClause) -> None:
    op.create_table(
        "discrepancy_event",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("timestamp", sa.Text, nullable=False, server_default=now),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("counts_json", sa.Text, nullable=False),
        sa.Column("checksum", sa.Text, nullable=False),
        sa.Column("latency_ms", sa.Integer, nullable=False),
        sa.Column("discrepancy_details_json", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_discrepancy_event"),
        sa.CheckConstraint("status IN ('verified', 'stale', 'discrepancy')", name="ck_discrepancy_event_status"),
    )
    op.create_index("ix_discrepancy_event_timestamp", "discrepancy_event", ["timestamp", "id"])
    op.create_index("ix_discrepancy_event_service", "discrepancy_event", ["service", "timestamp", "id"])
    op.create_table(
        "command_audit",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("timestamp", sa.Text, nullable=False, server_default=now),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action_type", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("before_state_json", sa.Text),
        sa.Column("after_state_json", sa.Text),
        sa.Column("command_params_json", sa.Text),
        sa.Column("logs_json", sa.Text),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("stage", sa.Text, nullable=False, server_default="result"),
        sa.Column("command_id", sa.Text),
        sa.Column("prev_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_command_audit"),
        sa.UniqueConstraint("seq", name="uq_command_audit_seq"),
        sa.CheckConstraint("outcome IN ('success', 'failure', 'timeout')", name="ck_command_audit_outcome"),
        sa.CheckConstraint("stage IN ('accepted', 'result')", name="ck_command_audit_stage"),
    )
    for table, same in SAME_ROW.items():
        for statement in APPEND_ONLY[dialect]:
            op.execute(statement.format(table=table, same=same))


def downgrade() -> None:
    raise NotImplementedError("the audit is append-only: restore a backup instead")


EVENT_RULES = {
    "sqlite": (
        # A lower id would be skipped by every cursor, a huge one would leave none for the others. `sqlite_sequence`
        # moves at the end of a statement, so within one the row before counts.
        """CREATE TRIGGER event_id_rises AFTER INSERT ON event
           WHEN NEW.id <> 1 + max(
             (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'),
             (SELECT coalesce(max(id), 0) FROM event WHERE id <> NEW.id)
           )
           BEGIN SELECT RAISE(ABORT, 'event ids rise one by one: leave the id out'); END""",
        """CREATE TRIGGER event_no_update BEFORE UPDATE ON event
           BEGIN SELECT RAISE(ABORT, 'events are never changed'); END""",
        """CREATE TRIGGER event_floor_rises AFTER DELETE ON event
           BEGIN UPDATE event_floor SET pruned_through = max(pruned_through, OLD.id) WHERE id = 1; END""",
    ),
    "postgresql": (
        # One writer at a time, whoever inserts: an id handed out early cannot be committed late. Then wake the tails.
        """CREATE FUNCTION event_serialise() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN PERFORM pg_advisory_xact_lock(4207002); RETURN NULL; END $$""",
        """CREATE TRIGGER event_serialise BEFORE INSERT ON event
           FOR EACH STATEMENT EXECUTE FUNCTION event_serialise()""",
        """CREATE FUNCTION event_wake() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN PERFORM pg_notify('beacon_event', ''); RETURN NULL; END $$""",
        """CREATE TRIGGER event_wake AFTER INSERT ON event
           FOR EACH STATEMENT EXECUTE FUNCTION event_wake()""",
        """CREATE FUNCTION event_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN RAISE EXCEPTION 'events are never changed'; END $$""",
        "CREATE TRIGGER event_no_update BEFORE UPDATE ON event FOR EACH ROW EXECUTE FUNCTION event_refuse()",
        "CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON event EXECUTE FUNCTION event_refuse()",
        """CREATE FUNCTION event_floor_rises() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
             UPDATE event_floor SET pruned_through = greatest(pruned_through, (SELECT max(id) FROM gone)) WHERE id = 1
               AND EXISTS (SELECT 1 FROM gone);
             RETURN NULL;
           END $$""",
        """CREATE TRIGGER event_floor_rises AFTER DELETE ON event REFERENCING OLD TABLE AS gone
           FOR EACH STATEMENT EXECUTE FUNCTION event_floor_rises()""",
    ),
}

# Every way in which a new row can collide with an old one, SQLite's hidden rowid included.
SAME_ROW = {
    "discrepancy_event": "id = NEW.id OR rowid = NEW.rowid",
    "command_audit": "id = NEW.id OR seq = NEW.seq OR rowid = NEW.rowid",
}

# INSERT OR REPLACE deletes first: with recursive_triggers the delete trigger sees it, and where a writer has
# not switched them on, the insert trigger refuses an id that exists.
APPEND_ONLY = {
    "sqlite": (
        """CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table}
           BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END""",
        """CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}
           BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END""",
        """CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}
           WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})
           BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END""",
    ),
    "postgresql": (
        """CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN RAISE EXCEPTION '{table} is append-only'; END $$""",
        """CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table}
           FOR EACH ROW EXECUTE FUNCTION {table}_refuse()""",
        """CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
           EXECUTE FUNCTION {table}_refuse()""",
    ),
}

"""The audit: where an entry came from, what pages of it are read by, checkpoints that let old entries go."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Every one holds all that can be filtered by, so that whatever is asked for is counted and found in one of them.
INDEXES = {
    "ix_command_audit_actor": ["actor", "seq", "action_type", "target", "outcome"],
    "ix_command_audit_action_type": ["action_type", "seq", "actor", "target", "outcome"],
    "ix_command_audit_target": ["target", "seq", "actor", "action_type", "outcome"],
    "ix_command_audit_outcome": ["outcome", "seq", "actor", "action_type", "target"],
    "ix_command_audit_timestamp": ["timestamp", "seq"],
}


def upgrade() -> None:
    op.add_column("command_audit", sa.Column("origin", sa.Text))
    for name, columns in INDEXES.items():
        op.create_index(name, "command_audit", columns)
    # Most entries belong to no command, and are not in it.
    some = sa.text("command_id IS NOT NULL")
    columns = ["command_id", "seq"]
    op.create_index("ix_command_audit_command_id", "command_audit", columns, sqlite_where=some, postgresql_where=some)
    op.create_table(
        "audit_checkpoint",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=False, nullable=False),
        sa.Column("through_seq", sa.BigInteger, nullable=False),
        sa.Column("through_hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_checkpoint"),
    )
    op.create_table(
        "audit_gathered",
        sa.Column("action_type", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("minute", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("action_type", "actor", "target", "origin", "minute", name="pk_audit_gathered"),
    )
    for statement in RULES[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("the audit is append-only: restore a backup instead")


RULES = {
    "sqlite": (
        "DROP TRIGGER command_audit_no_delete",
        """CREATE TRIGGER command_audit_no_delete BEFORE DELETE ON command_audit
           WHEN NOT EXISTS (SELECT 1 FROM audit_checkpoint WHERE through_seq >= OLD.seq)
           BEGIN SELECT RAISE(ABORT, 'command_audit is append-only'); END""",
        # What a checkpoint let go does not come back as something else.
        """CREATE TRIGGER command_audit_no_return BEFORE INSERT ON command_audit
           WHEN EXISTS (SELECT 1 FROM audit_checkpoint WHERE through_seq >= NEW.seq)
           BEGIN SELECT RAISE(ABORT, 'command_audit is append-only'); END""",
        # One stray row far ahead would leave no place for the others.
        """CREATE TRIGGER command_audit_follows BEFORE INSERT ON command_audit
           WHEN NEW.seq IS NOT 1 + coalesce((SELECT max(seq) FROM command_audit), 0)
             OR NEW.prev_hash IS NOT
                coalesce((SELECT hash FROM command_audit ORDER BY seq DESC LIMIT 1), NEW.prev_hash)
           BEGIN SELECT RAISE(ABORT, 'command_audit is append-only: an entry follows the last one'); END""",
        """CREATE TRIGGER audit_checkpoint_sealed BEFORE INSERT ON audit_checkpoint
           WHEN NOT EXISTS (
             SELECT 1 FROM command_audit AS entry
             JOIN command_audit AS last ON last.seq = NEW.through_seq AND last.hash = NEW.through_hash
             WHERE entry.seq = NEW.seq AND entry.seq > last.seq AND entry.action_type = 'audit-checkpoint'
               AND json_extract(entry.command_params_json, '$.throughSeq') = NEW.through_seq
               AND json_extract(entry.command_params_json, '$.throughHash') = NEW.through_hash
           )
           BEGIN SELECT RAISE(ABORT, 'no entry of the audit seals this checkpoint'); END""",
        """CREATE TRIGGER audit_checkpoint_no_update BEFORE UPDATE ON audit_checkpoint
           BEGIN SELECT RAISE(ABORT, 'audit_checkpoint is append-only'); END""",
        """CREATE TRIGGER audit_checkpoint_no_delete BEFORE DELETE ON audit_checkpoint
           BEGIN SELECT RAISE(ABORT, 'audit_checkpoint is append-only'); END""",
        """CREATE TRIGGER audit_checkpoint_no_replace BEFORE INSERT ON audit_checkpoint
           WHEN EXISTS (SELECT 1 FROM audit_checkpoint WHERE seq = NEW.seq)
           BEGIN SELECT RAISE(ABORT, 'audit_checkpoint is append-only'); END""",
    ),
    "postgresql": (
        "DROP TRIGGER command_audit_no_change ON command_audit",
        """CREATE TRIGGER command_audit_no_update BEFORE UPDATE ON command_audit
           FOR EACH ROW EXECUTE FUNCTION command_audit_refuse()""",
        """CREATE FUNCTION command_audit_let_go() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
             IF NOT EXISTS (SELECT 1 FROM audit_checkpoint WHERE through_seq >= OLD.seq) THEN
               RAISE EXCEPTION 'command_audit is append-only';
             END IF;
             RETURN OLD;
           END $$""",
        """CREATE TRIGGER command_audit_no_delete BEFORE DELETE ON command_audit
           FOR EACH ROW EXECUTE FUNCTION command_audit_let_go()""",
        """CREATE FUNCTION command_audit_no_return() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
             IF EXISTS (SELECT 1 FROM audit_checkpoint WHERE through_seq >= NEW.seq) THEN
               RAISE EXCEPTION 'command_audit is append-only';
             END IF;
             RETURN NEW;
           END $$""",
        """CREATE TRIGGER command_audit_no_return BEFORE INSERT ON command_audit
           FOR EACH ROW EXECUTE FUNCTION command_audit_no_return()""",
        """CREATE FUNCTION command_audit_follows() RETURNS trigger LANGUAGE plpgsql AS $$
           DECLARE last record;
           BEGIN
             SELECT seq, hash INTO last FROM command_audit ORDER BY seq DESC LIMIT 1;
             IF NEW.seq <> 1 + coalesce(last.seq, 0) OR NEW.prev_hash <> coalesce(last.hash, NEW.prev_hash) THEN
               RAISE EXCEPTION 'command_audit is append-only: an entry follows the last one';
             END IF;
             RETURN NEW;
           END $$""",
        """CREATE TRIGGER command_audit_follows BEFORE INSERT ON command_audit
           FOR EACH ROW EXECUTE FUNCTION command_audit_follows()""",
        """CREATE FUNCTION audit_checkpoint_sealed() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
             IF NOT EXISTS (
               SELECT 1 FROM command_audit AS entry
               JOIN command_audit AS last ON last.seq = NEW.through_seq AND last.hash = NEW.through_hash
               WHERE entry.seq = NEW.seq AND entry.seq > last.seq AND entry.action_type = 'audit-checkpoint'
                 AND (entry.command_params_json::json ->> 'throughSeq') = NEW.through_seq::text
                 AND (entry.command_params_json::json ->> 'throughHash') = NEW.through_hash
             ) THEN
               RAISE EXCEPTION 'no entry of the audit seals this checkpoint';
             END IF;
             RETURN NEW;
           END $$""",
        """CREATE TRIGGER audit_checkpoint_sealed BEFORE INSERT ON audit_checkpoint
           FOR EACH ROW EXECUTE FUNCTION audit_checkpoint_sealed()""",
        """CREATE FUNCTION audit_checkpoint_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN RAISE EXCEPTION 'audit_checkpoint is append-only'; END $$""",
        """CREATE TRIGGER audit_checkpoint_no_change BEFORE UPDATE OR DELETE ON audit_checkpoint
           FOR EACH ROW EXECUTE FUNCTION audit_checkpoint_refuse()""",
        """CREATE TRIGGER audit_checkpoint_no_truncate BEFORE TRUNCATE ON audit_checkpoint
           EXECUTE FUNCTION audit_checkpoint_refuse()""",
    ),
}

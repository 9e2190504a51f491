"""The migrations and the models describe the same tables."""

import io
import re

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script, ScriptDirectory
from flask import Flask

from app.db import db
from app.infra import database_upgrade

# SQLite's full-text index of messages, with the tables that it keeps itself in; migration 0022 makes it.
FULL_TEXT = "failure_text"


def is_described(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and (name or "").startswith(FULL_TEXT))


def test_the_migrations_make_exactly_the_tables_of_the_models(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        options = {"compare_type": False, "compare_server_default": False, "include_name": is_described}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, db.metadata) == []


# Migrations above this one run under a rolling upgrade. The last one of the release before the next (CHANGELOG.md).
LAST_RELEASE = "0024"
# What code of the version before cannot live with. CONTRIBUTING.md says how to do it in two releases.
BREAKS_OLD_CODE = re.compile(
    r"DROP (TABLE|COLUMN|VIEW)|RENAME|SET NOT NULL|ALTER COLUMN \S+ TYPE|ADD COLUMN (?!.*DEFAULT).* NOT NULL"
    r"|ADD CONSTRAINT (?!.*NOT VALID)",
    re.IGNORECASE,
)


def newer_scripts() -> list[Script]:
    every = ScriptDirectory(database_upgrade.MIGRATIONS).walk_revisions()
    return [script for script in every if script.revision > LAST_RELEASE]


def statements_of(script: Script, dialect: str) -> str:
    """What the migration would execute, without a database."""
    written = io.StringIO()
    context = MigrationContext.configure(dialect_name=dialect, opts={"as_sql": True, "output_buffer": written})
    with Operations.context(context):
        script.module.upgrade()
    return written.getvalue()


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_old_code_runs_on_the_schema_of_every_newer_migration(dialect: str) -> None:
    broken = {
        script.revision: found[0]
        for script in newer_scripts()
        if (found := BREAKS_OLD_CODE.search(statements_of(script, dialect)))
    }
    assert broken == {}, "see the rule for migrations in CONTRIBUTING.md"


@pytest.mark.parametrize(
    ("statement", "breaks"),
    [
        ("ALTER TABLE event DROP COLUMN later", True),
        ("ALTER TABLE event RENAME TO log", True),
        ("ALTER TABLE event ADD COLUMN later TEXT NOT NULL", True),
        ("ALTER TABLE event ALTER COLUMN later SET NOT NULL", True),
        ("ALTER TABLE event ADD COLUMN later TEXT", False),
        ("ALTER TABLE event ADD COLUMN later TEXT DEFAULT '' NOT NULL", False),
        ("CREATE TABLE later (id INTEGER NOT NULL)", False),
        ("CREATE INDEX ix_later ON event (later)", False),
    ],
)
def test_the_check_of_migrations_tells_what_breaks_old_code(statement: str, breaks: bool) -> None:
    assert bool(BREAKS_OLD_CODE.search(statement)) == breaks

"""The migrations and the models describe the same tables."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask

from app.db import db

# SQLite's full-text index of messages, with the tables that it keeps itself in; migration 0022 makes it.
FULL_TEXT = "failure_text"


def is_described(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and (name or "").startswith(FULL_TEXT))


def test_the_migrations_make_exactly_the_tables_of_the_models(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        options = {"compare_type": False, "compare_server_default": False, "include_name": is_described}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, db.metadata) == []

"""Creates and migrates the database before a server uses it."""

import sqlite3
from pathlib import Path

import flask_migrate
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask

from app.config import Settings
from app.db import db
from app.infra import resources

MIGRATIONS = str(resources.MIGRATIONS)


def migrate_database(app: Flask, settings: Settings) -> None:
    """Create or upgrade the database. Does nothing if it is up to date."""
    if settings.is_sqlite:
        create_file(settings)
    # This module alone imports Alembic: a server does not need it, and it would add a tenth to a server's imports.
    # Batch mode would recreate tables and lose their triggers.
    flask_migrate.Migrate(app, db, directory=MIGRATIONS, render_as_batch=False)
    with app.app_context():
        if current_revision() != newest_revision():
            flask_migrate.upgrade()


def current_revision() -> str | None:
    """Return the database's revision; None for an empty database."""
    with db.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str | None:
    return ScriptDirectory(MIGRATIONS).get_current_head()


def create_file(settings: Settings) -> None:
    """Create the file in WAL mode, which is stored in the file: readers never wait for writers."""
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
    path.chmod(0o600)


def find_connection_problem() -> str:
    """Return the driver's reason why the database cannot be reached; empty if it can."""
    try:
        with db.engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
    except sa.exc.SQLAlchemyError as error:
        lines = str(getattr(error, "orig", None) or error).strip().splitlines()
        return lines[0].strip() if lines else repr(error)
    return ""

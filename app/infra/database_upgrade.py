"""Bringing a database up to date before anything serves from it."""

import sqlite3
from pathlib import Path

import flask_migrate
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask

from app import ROOT
from app.config import Settings
from app.db import db

MIGRATIONS = str(ROOT / "migrations")


def migrate_database(app: Flask, settings: Settings) -> None:
    """Create or upgrade the database; does nothing where it is up to date."""
    if settings.is_sqlite:
        _create_file(Path(settings.database_url.removeprefix("sqlite:///")))
    # Only here: what serves pages has no use for Alembic, a tenth of all that a server would import.
    # Batch mode would recreate tables and lose their triggers.
    flask_migrate.Migrate(app, db, directory=MIGRATIONS, render_as_batch=False)
    with app.app_context():
        if current_revision() != newest_revision():
            flask_migrate.upgrade()


def current_revision() -> str | None:
    """The revision that the database is at; None for an empty one."""
    with db.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str | None:
    return ScriptDirectory(MIGRATIONS).get_current_head()


def _create_file(path: Path) -> None:
    """WAL is kept in the file: readers never wait for writers from here on."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
    path.chmod(0o600)


def is_reachable() -> bool:
    try:
        with db.engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
    except sa.exc.SQLAlchemyError:
        return False
    return True

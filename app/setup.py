"""Bringing a database up to date before anything serves from it."""

import sqlite3
from pathlib import Path

import flask_migrate
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask

from app.config import Settings
from app.db import db


def migrate(app: Flask, settings: Settings) -> None:
    """Create or upgrade the database; does nothing where it is up to date."""
    if settings.is_sqlite:
        _create_file(Path(settings.database_url.removeprefix("sqlite:///")))
    with app.app_context():
        if current_revision() != newest_revision(app):
            flask_migrate.upgrade()


def current_revision() -> str | None:
    """The revision that the database is at; None for an empty one."""
    with db.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_revision(app: Flask) -> str | None:
    return ScriptDirectory(app.extensions["migrate"].directory).get_current_head()


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

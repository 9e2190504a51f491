"""The application and the actor's name, for commands that use the database."""

import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from app import create_app
from app.config import Settings, load_settings
from app.db import db
from app.infra import database_upgrade, logs


@contextmanager
def open_app(settings: Settings) -> Iterator[Flask]:
    """Create the application; its database connections are closed at the end of the block."""
    app = create_app(settings)
    try:
        yield app
    finally:
        with app.app_context():
            db.engine.dispose()


@contextmanager
def open_migrated_app() -> Iterator[Flask]:
    """Create the application and enter its context; SQLite databases are migrated first."""
    logs.configure_logging()
    settings = load_settings()
    with open_app(settings) as app:
        if settings.is_sqlite:
            database_upgrade.migrate_database(app, settings)
        with app.app_context():
            yield app


def read_line() -> str:
    """A line of standard input without its end, also one that Windows ended."""
    return sys.stdin.readline().rstrip("\r\n")


def operator_name() -> str:
    """The actor that the audit names for commands typed on the server."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # in containers the user id may have no name
        return f"cli:{os.getuid()}"

"""What every command that touches the database needs: the application, and who the audit names."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from app import create_app
from app.config import Settings, load_settings
from app.db import db
from app.infra import database_upgrade, logs


@contextmanager
def made(settings: Settings) -> Iterator[Flask]:
    """The application as it is; its connections to the database end with the block."""
    app = create_app(settings)
    try:
        yield app
    finally:
        with app.app_context():
            db.engine.dispose()


@contextmanager
def application() -> Iterator[Flask]:
    """The application on an up-to-date database, for a command that reads or writes it."""
    logs.configure_logging()
    settings = load_settings()
    with made(settings) as app:
        if settings.is_sqlite:
            database_upgrade.migrate_database(app, settings)
        with app.app_context():
            yield app


def operator() -> str:
    """Who the audit names for what is typed on the server itself."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # containers run under ids that have no name
        return f"cli:{os.getuid()}"

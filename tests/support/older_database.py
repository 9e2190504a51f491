"""A database as the first version of its schema left it, with people, a token, a log and an audit in it."""

import hashlib
from types import SimpleNamespace

import flask_migrate
import sqlalchemy as sa
from flask import Flask

from app.audit import chain
from app.config import Settings
from app.db import db
from app.infra import database_upgrade

TOKEN = "bcn_made-by-the-first-version"
EVENTS, ENTRIES = 50, 20
WHEN = "2026-01-01T00:00:00.000Z"


def make(app: Flask, settings: Settings) -> None:
    """Create and fill it. The models describe the newest schema, so everything is written by hand."""
    if settings.is_sqlite:
        database_upgrade.create_file(settings)
    flask_migrate.Migrate(app, db, directory=database_upgrade.MIGRATIONS, render_as_batch=False)
    with app.app_context():
        flask_migrate.upgrade(revision="0001")
        with db.engine.connect().execution_options(beacon_writing=True) as connection:
            _add_people(connection)
            for number in range(EVENTS):
                insert(connection, "event", type="counted", data_json=f'{{"n": {number}}}', created_at=WHEN)
            _add_audit(connection)
            connection.commit()


def insert(connection: sa.Connection, table: str, **values: object) -> None:
    names = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    connection.execute(sa.text(f'INSERT INTO "{table}" ({names}) VALUES ({places})'), values)


def _add_people(connection: sa.Connection) -> None:
    insert(connection, "user", id=1, name="alice", password_hash="none", role="admin", created_at=WHEN)
    insert(
        connection,
        "api_token",
        user_id=1,
        token_hash=hashlib.sha256(TOKEN.encode()).hexdigest(),
        scopes="publish read stream",
        created_at=WHEN,
    )


def _add_audit(connection: sa.Connection) -> None:
    before = chain.GENESIS_HASH
    for number in range(1, ENTRIES + 1):
        entry: dict[str, object] = dict.fromkeys(chain.SEALED_COLUMNS)
        entry |= {"id": f"e{number}", "seq": number, "timestamp": WHEN, "actor": "alice", "action_type": "login"}
        entry |= {"target": "alice", "stage": "result", "outcome": "success", "prev_hash": before}
        before = chain.seal(SimpleNamespace(**entry, origin=None))  # type: ignore[arg-type] # as a row
        insert(connection, "command_audit", **entry, hash=before)

"""Alembic's entry: migrations run on the application's own engine, in one transaction.

Another process may be at it, as when a deployment starts on two hosts, or a server may be writing: both are waited for.
Servers go on while it runs. On PostgreSQL a change of a table waits for everything that reads the table, and later
statements queue up behind it: so it waits only for a moment, and then the whole upgrade is tried again.
"""

import time

import sqlalchemy as sa
from alembic import context
from flask import current_app
from sqlalchemy.exc import OperationalError

from app.db import set_statement_timeout
from app.infra.schema_version import MIGRATION_LOCK

WAIT_MS = 120_000
# Less than a server waits for a lock (app/infra/postgres.py), so that statements that queue up behind it do not fail.
TABLE_LOCK_MS = 1_000
RETRY_S = 1.0
LOCK_NOT_AVAILABLE = "55P03"

db = current_app.extensions["migrate"].db


def run() -> None:
    deadline = time.monotonic() + WAIT_MS / 1_000
    # SQLite's write lock is taken at once, so that nothing fails half way.
    with db.engine.connect().execution_options(beacon_writing=True) as connection:
        connection.detach()  # how long it waits is its own, and ends with it
        if connection.dialect.name == "sqlite":
            connection.connection.dbapi_connection.execute(f"PRAGMA busy_timeout={WAIT_MS}")
        while not _try_to_migrate(connection, deadline):
            time.sleep(RETRY_S)


def _try_to_migrate(connection: sa.Connection, deadline: float) -> bool:
    """Return False if something reads a table that has to be changed, and there is time to try again."""
    context.configure(connection=connection, target_metadata=db.metadata, transactional_ddl=True)
    try:
        with context.begin_transaction():
            if connection.dialect.name == "postgresql":
                set_statement_timeout(connection, None)
                connection.execute(sa.text(f"SET LOCAL lock_timeout = {WAIT_MS}"))
                connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
                connection.execute(sa.text(f"SET LOCAL lock_timeout = {TABLE_LOCK_MS}"))
            # Whoever came second finds nothing left to do.
            context.run_migrations()
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE or time.monotonic() >= deadline:
            raise
        connection.rollback()
        return False
    return True


run()

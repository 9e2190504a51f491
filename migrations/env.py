"""Alembic's entry: migrations run on the application's own engine, in one transaction.

Another process may be at it, as when a deployment starts on two hosts, or a server may be writing: both are waited for.
"""

import sqlalchemy as sa
from alembic import context
from flask import current_app

from app.db import set_statement_timeout
from app.infra.schema_version import MIGRATION_LOCK

WAIT_MS = 120_000

db = current_app.extensions["migrate"].db


def run() -> None:
    # SQLite's write lock is taken at once, so that nothing fails half way.
    with db.engine.connect().execution_options(beacon_writing=True) as connection:
        connection.detach()  # how long it waits is its own, and ends with it
        if connection.dialect.name == "sqlite":
            connection.connection.dbapi_connection.execute(f"PRAGMA busy_timeout={WAIT_MS}")
        context.configure(connection=connection, target_metadata=db.metadata, transactional_ddl=True)
        with context.begin_transaction():
            if connection.dialect.name == "postgresql":
                set_statement_timeout(connection, None)
                connection.execute(sa.text(f"SET LOCAL lock_timeout = {WAIT_MS}"))
                connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            # Whoever came second finds nothing left to do.
            context.run_migrations()


run()

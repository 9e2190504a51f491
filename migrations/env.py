"""Alembic's entry: migrations run on the application's own engine, in one transaction."""

from alembic import context
from flask import current_app

db = current_app.extensions["migrate"].db


def run() -> None:
    # A running server may be writing: take the lock at once instead of failing half way.
    with db.engine.connect().execution_options(beacon_writing=True) as connection:
        context.configure(connection=connection, target_metadata=db.metadata, transactional_ddl=True)
        with context.begin_transaction():
            context.run_migrations()


run()

"""The database: engine set-up for SQLite and PostgreSQL, and `write()`, the one way to change anything."""

import contextlib
import random
import time
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import quote

import sqlalchemy as sa
from blinker import Signal
from flask import g, has_request_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import ConnectionPoolEntry

WRITE_DEADLINE_S = 5.0
# SQLite's busy handler sleeps in C and so stops the whole event loop: it may wait this long and no longer.
SQLITE_BUSY_MS = 5

_WRITING = {"beacon_writing": True}


class Base(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)


committed = Signal("This process has written: whoever waits for news need not wait for their next look.")


class DatabaseUnavailable(Exception):
    """The database did not take a write in time, or cannot be reached. Answered as 503."""


@contextlib.contextmanager
def write(deadline_s: float = WRITE_DEADLINE_S) -> Iterator[Session]:
    """A transaction that may change rows, committed at the end of the block.

    A session of its own: nothing that a request has read earlier is part of it. On SQLite the lock is
    taken first (`BEGIN IMMEDIATE`) and waited for cooperatively, so that other requests and heartbeats go on.
    Raises `DatabaseUnavailable` when the lock was not to be had within `deadline_s`.
    """
    with Session(db.engine, expire_on_commit=False) as session:
        _begin(session, time.monotonic() + deadline_s)
        yield session
        if has_request_context():  # before the commit: one that fails may have been done
            g.beacon_has_written = True
        session.commit()
    committed.send()


def has_written() -> bool:
    """Whether the request that is under way has changed anything, or may have."""
    return has_request_context() and bool(g.get("beacon_has_written"))


@contextlib.contextmanager
def read() -> Iterator[Session]:
    """A read-only look that gives its connection back at once; long-lived callers (streams, loops) use it."""
    with Session(db.engine, expire_on_commit=False) as session:
        yield session


def _begin(session: Session, deadline: float) -> None:
    while True:
        try:
            session.connection(execution_options=_WRITING)
            return
        except OperationalError as error:
            session.rollback()
            if not is_busy(error):
                raise DatabaseUnavailable(str(error.orig)) from error
            if time.monotonic() >= deadline:
                raise DatabaseUnavailable("another process holds the database's write lock") from error
            time.sleep(random.uniform(0.002, 0.02))  # noqa: S311 -- spreads retries, guards nothing


def is_busy(error: DBAPIError) -> bool:
    return "database is locked" in str(error.orig)


def now_epoch() -> sa.ColumnElement[float]:
    """The database's own clock in seconds since 1970: hosts may disagree, the database is one."""
    if db.engine.dialect.name == "sqlite":
        return (sa.func.julianday("now") - 2440587.5) * 86400.0
    return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float)


def configure_engine(engine: Engine) -> None:
    """Hooks for every connection of `engine`; called once for each engine, before its first connection."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
    else:
        from app.infra import postgres  # only here: its driver is a tenth of all that a server on SQLite would import

        event.listen(engine, "do_connect", lambda _dialect, _record, args, named: postgres.connect(*args, **named))
        event.listen(engine, "connect", lambda connection, _record: postgres.prepare_session(connection))
        event.listen(engine, "checkin", lambda connection, _record: postgres.reset_timeout(connection))


def set_statement_timeout(connection: Connection, seconds: float | None) -> None:
    """Let the statements of this transaction take so long, or with None as long as they want."""
    if connection.dialect.name == "postgresql":
        from app.infra import postgres  # see above

        postgres.set_statement_timeout(cast(postgres.Connection, connection.connection.dbapi_connection), seconds)


def _sqlite_connect(connection: Any, _record: ConnectionPoolEntry) -> None:
    # The driver's own transaction handling begins too late and never IMMEDIATE: switch it off.
    connection.isolation_level = None
    connection.text_factory = _text
    for pragma in (
        f"busy_timeout={SQLITE_BUSY_MS}",
        "foreign_keys=ON",
        "recursive_triggers=ON",  # without it INSERT OR REPLACE deletes past the append-only triggers
        "synchronous=FULL",  # NORMAL can lose acknowledged ids at a power cut and hand them out again
        "wal_autocheckpoint=0",  # a checkpoint may take long: a thread does it
    ):
        connection.execute(f"PRAGMA {pragma}")


def _text(stored: bytes) -> str | bytes:
    """SQLite keeps any bytes as text. Those that are none stay bytes: raising would fail every other row of a fetch."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def _sqlite_begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("beacon_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def engine_url(database_url: str) -> str:
    """The address for the engine. `mode=rw`: a missing SQLite file is an error, never silently an empty one."""
    if not database_url.startswith("sqlite:///"):
        return database_url
    # Quoted twice, because SQLAlchemy and then SQLite take one layer off: a folder may be called `feature%2Fx`.
    return f"sqlite:///file:{quote(quote(database_url.removeprefix('sqlite:///')))}?mode=rw&uri=true"


def engine_options(database_url: str) -> dict[str, Any]:
    """Pool sizes; streams hold no connection, so these bound requests and loops only."""
    if database_url.startswith("sqlite:"):
        return {"pool_size": 4, "max_overflow": 4, "pool_timeout": 5}
    return {"pool_size": 8, "max_overflow": 4, "pool_timeout": 5, "pool_pre_ping": True}

"""Sets up the database engine for SQLite and PostgreSQL, and provides `write()`, the only way to change rows."""

import contextlib
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from blinker import Signal
from flask import g, has_request_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, DisconnectionError, InvalidatePoolError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import ConnectionPoolEntry

WRITE_DEADLINE_S = 5.0
# SQLite's busy handler sleeps in C and blocks the whole event loop, so it may wait only this long.
SQLITE_BUSY_MS = 5
# Connections of one process. Audit reads and searches may hold four of them for seconds, everything else for
# milliseconds.
POSTGRES_POOL_SIZE = 6
# With the one that waits for notifications. docs/database.md and `beacon doctor` add them up.
MAX_POSTGRES_CONNECTIONS = POSTGRES_POOL_SIZE + 1

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


# In `Session.info` of a transaction that appends to the event log.
EVENTS_APPENDED = "events_appended"
committed = Signal("This process committed a write. `has_events`: it appended to the log, so the tail reads.")


class DatabaseUnavailable(Exception):
    """The database did not accept a write in time, or cannot be reached. Clients get a 503."""


@contextlib.contextmanager
def write(deadline_s: float = WRITE_DEADLINE_S) -> Iterator[Session]:
    """Open a transaction that may change rows; it is committed at the end of the block.

    It uses its own session, without anything that a request has read before. On SQLite the write lock is taken first
    (`BEGIN IMMEDIATE`) with a cooperative wait, so that other requests and heartbeats continue.
    Raises `DatabaseUnavailable` if the lock cannot be acquired within `deadline_s`.
    """
    with Session(db.engine, expire_on_commit=False) as session:
        _begin(session, time.monotonic() + deadline_s)
        yield session
        note_written()  # before the commit: one that raises may still have succeeded
        session.commit()
    committed.send(has_events=EVENTS_APPENDED in session.info)


def note_written() -> None:
    """Note that the current request, if there is one, has changed something or may have."""
    if has_request_context():
        g.beacon_has_written = True


def has_written() -> bool:
    """True if the current request has changed something, or may have."""
    return has_request_context() and bool(g.get("beacon_has_written"))


@contextlib.contextmanager
def read() -> Iterator[Session]:
    """Open a session for reading that returns its connection at the end; for long-lived callers (streams, loops)."""
    with Session(db.engine, expire_on_commit=False) as session:
        yield session


def read_row(session: Session, statement: sa.Select[Any], parameters: Mapping[str, Any]) -> sa.Row[Any] | None:
    """Return the one row of `statement`, the first statement of `session`, or None.

    On PostgreSQL it is read outside the session's transaction: beginning and ending one takes two more round trips.
    """
    if session.in_transaction() or session.get_bind().dialect.name == "sqlite":
        return session.execute(statement, parameters).one_or_none()
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        return connection.execute(statement, parameters).one_or_none()


def _begin(session: Session, deadline: float) -> None:
    while True:
        try:
            session.connection(execution_options=_WRITING)
            return
        except DBAPIError as error:  # a damaged SQLite file is a DatabaseError of no subclass
            session.rollback()
            if not is_busy(error):
                raise DatabaseUnavailable(str(error.orig)) from error
            if time.monotonic() >= deadline:
                raise DatabaseUnavailable("another process holds the database's write lock") from error
            time.sleep(random.uniform(0.002, 0.02))  # noqa: S311 -- spreads retries, guards nothing


def is_busy(error: DBAPIError) -> bool:
    return "database is locked" in str(error.orig)


def count_changed(session: Session, statement: sa.Update | sa.Delete) -> int:
    """Execute the statement and return the number of changed rows. Objects of the session are not updated."""
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return cast(sa.CursorResult[Any], result).rowcount


def insert_into(table: type[Base] | sa.FromClause, dialect: str = "") -> sqlite.Insert:
    """An INSERT with SQLite's and PostgreSQL's `on_conflict_do_nothing` and `on_conflict_do_update`.

    `dialect` is that of the application's database, unless the statement is built before there is one.
    """
    made: sqlite.Insert = (sqlite if (dialect or db.engine.dialect.name) == "sqlite" else postgresql).insert(table)
    return made


def now_epoch() -> sa.ColumnElement[float]:
    """The database's clock in seconds since 1970. The clocks of hosts may differ, but there is one database."""
    if db.engine.dialect.name == "sqlite":
        return (sa.func.julianday("now") - 2440587.5) * 86400.0
    return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float)


def configure_engine(engine: Engine) -> None:
    """Install hooks for every connection of `engine`. Call it once for each engine, before its first connection."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
    else:
        from app.infra import postgres  # local: psycopg would add a tenth to the imports of a server on SQLite

        event.listen(engine, "do_connect", lambda _dialect, _record, args, named: postgres.connect(*args, **named))
        event.listen(engine, "connect", _postgres_connect)
        event.listen(engine, "checkin", lambda connection, _record: postgres.reset_timeout(connection))
        event.listen(
            engine, "checkout", lambda connection, record, _proxy: _check_connection(engine, connection, record)
        )


def distrust_connections(engine: Engine) -> None:
    """Replace the pool's connections when they are next taken: their server or file may no longer be the right one."""
    if engine.dialect.name == "sqlite":
        engine.dispose()
    else:
        _distrusted_at[engine] = time.monotonic()


_distrusted_at: WeakKeyDictionary[Engine, float] = WeakKeyDictionary()


def _postgres_connect(connection: Any, record: ConnectionPoolEntry) -> None:
    from app.infra import postgres  # see above

    postgres.prepare_session(connection)
    record.info["connected_at"] = time.monotonic()


def _check_connection(engine: Engine, connection: Any, record: ConnectionPoolEntry) -> None:
    """Replace this connection if it is distrusted, and the whole pool if the server has closed it, as a restart does.

    This sends nothing to the server: a query for each checkout would double the cost of a short request.
    """
    from app.infra import postgres  # see above

    if record.info["connected_at"] <= _distrusted_at.get(engine, 0.0):
        raise DisconnectionError
    if postgres.is_closed(connection):
        raise InvalidatePoolError


def set_statement_timeout(connection: Connection, seconds: float | None) -> None:
    """Limit the statements of this transaction to `seconds` on PostgreSQL; None is no limit."""
    if connection.dialect.name == "postgresql":
        from app.infra import postgres  # see above

        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int((seconds or 0) * 1_000)}")
        postgres.set_response_timeout(cast(postgres.Connection, connection.connection.dbapi_connection), seconds)


def _sqlite_connect(connection: Any, _record: ConnectionPoolEntry) -> None:
    # The driver's own transaction handling begins too late and never IMMEDIATE: switch it off.
    connection.isolation_level = None
    connection.text_factory = decode_text
    for pragma in (
        f"busy_timeout={SQLITE_BUSY_MS}",
        "foreign_keys=ON",
        "recursive_triggers=ON",  # without it INSERT OR REPLACE bypasses the append-only triggers
        "synchronous=FULL",  # NORMAL can lose acknowledged ids in a power cut and hand them out again
        "wal_autocheckpoint=0",  # a checkpoint may take long, so a thread runs it
    ):
        connection.execute(f"PRAGMA {pragma}")


def decode_text(stored: bytes) -> str | bytes:
    """Decode text. SQLite stores any bytes as text; invalid UTF-8 stays bytes, because raising would fail all rows."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def _sqlite_begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("beacon_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def engine_url(database_url: str) -> str:
    """Build the engine's URL. `mode=rw`: a missing SQLite file is an error and is never silently created."""
    if not database_url.startswith("sqlite:///"):
        return database_url
    # Quoted twice, because SQLAlchemy and SQLite each remove one layer: a folder may be called `feature%2Fx`.
    return f"sqlite:///file:{quote(quote(database_url.removeprefix('sqlite:///')))}?mode=rw&uri=true"


def engine_options(database_url: str) -> dict[str, Any]:
    """Return the pool sizes. Streams hold no connection, so these limit only requests and background parts."""
    if database_url.startswith("sqlite:"):
        return {"pool_size": 4, "max_overflow": 4, "pool_timeout": 5}
    # The last one used is taken first, and none is opened for a short peak: opening one costs more than waiting.
    return {"pool_size": POSTGRES_POOL_SIZE, "max_overflow": 0, "pool_timeout": 5, "pool_use_lifo": True}

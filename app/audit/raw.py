"""Long reads of the audit off the event loop: a connection of their own, on a thread of their own.

A query over millions of rows runs inside SQLite, in C, and would hold every stream of the worker. psycopg waits as
everything else does under gevent, so PostgreSQL is read where one is.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app import offloop
from app.db import db

T = TypeVar("T")
Rows = list[tuple[Any, ...]]
Fetch = Callable[[sa.Executable], Rows]
"""Runs a statement and answers with its rows as the driver made them."""

# A writer's checkpoint may hold the file for a moment.
_BUSY_S = 5.0
# What pages are read from stays in memory while one connection looks.
_CACHE_KIB = 65_536


def look(reading: Callable[[Fetch], T]) -> T:
    """What `reading` makes of the rows it asks for, all of them as of one moment.

    `reading` runs on a native thread: it computes, and touches neither Flask nor a session.
    """
    engine = db.engine
    if engine.dialect.name != "sqlite":
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            return reading(_of_postgres(connection))
    result: T = offloop.call(_on_sqlite, engine.url.database or "", engine.dialect, reading)
    return result


def _on_sqlite(address: str, dialect: sa.Dialect, reading: Callable[[Fetch], T]) -> T:
    with closing(open_file(address)) as connection:
        connection.execute("BEGIN")

        def fetch(statement: sa.Executable) -> Rows:
            compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # every executable has it
            named = compiled.params
            return connection.execute(str(compiled), [named[name] for name in compiled.positiontup or ()]).fetchall()

        return reading(fetch)


def open_file(address: str) -> sqlite3.Connection:
    """`address` is the engine's: `file:…`. Text that is none stays bytes, as the app's connections have it."""
    connection = sqlite3.connect(f"{address}?mode=rw", uri=True, timeout=_BUSY_S, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    connection.text_factory = _text
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


def _text(stored: bytes) -> str | bytes:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def _of_postgres(connection: Connection) -> Fetch:
    return lambda statement: [tuple(row) for row in connection.execute(statement)]

"""Runs long audit reads off the event loop, on their own threads and connections.

A query over millions of rows runs inside SQLite, in C, and would block every stream of the worker. psycopg cooperates
with gevent, so PostgreSQL is read on the loop. The threads are the audit's own, so that logins and new streams never
wait for a search.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.db import db, decode_text, set_statement_timeout
from app.infra import concurrency
from app.infra.problems import Problem, build_retry_after

T = TypeVar("T")
Row = tuple[Any, ...]
Rows = list[Row]

# A checkpoint of SQLite's write-ahead log may lock the file for a moment.
_BUSY_TIMEOUT_S = 5.0
# For one statement on PostgreSQL; an export or a verification reads more than a page does.
_STATEMENT_TIMEOUT_S = 30.0
# SQLite's page cache of one connection.
_CACHE_KIB = 65_536
# Reads of a worker that run at the same time, as threads or connections of the pool; and reads that run or wait.
MAX_CONCURRENT_READS = 2
MAX_PENDING_READS = 15
# Rows that are fetched before their bytes are added up.
_ROWS_PER_FETCH = 50
_threads = concurrency.NativeThreads(MAX_CONCURRENT_READS)
_pending = threading.BoundedSemaphore(MAX_PENDING_READS)
_running = threading.BoundedSemaphore(MAX_CONCURRENT_READS)


class ByteBudget:
    """A limit on the bytes of the rows of one read, measured by `weight`. If `is_spent`, there may be more rows."""

    def __init__(self, most: int, weight: Callable[[Row], int]) -> None:
        self._left, self._weight = most, weight
        self.is_spent = False

    def take(self, portions: Iterable[Rows]) -> Rows:
        rows: Rows = []
        for portion in portions:
            rows += portion
            self._left -= sum(map(self._weight, portion))
            if self._left <= 0:
                self.is_spent = True
                break
        return rows


class Fetch(Protocol):
    """Runs a statement and returns the driver's rows; with a budget, only the first ones that fit."""

    def __call__(self, statement: sa.Executable, budget: ByteBudget | None = None) -> Rows: ...


def run_read(reading: Callable[[Fetch], T], *, waits: bool = False) -> T:
    """Call `reading` with a `Fetch` and return its result; all its rows come from one snapshot.

    `reading` runs on a native thread, so it must not use Flask or a session. If too many reads are pending, it raises
    a 503 problem; with `waits`, for a response that has already started, it waits for a free slot instead.
    """
    if not _pending.acquire(blocking=waits):
        detail = "Too many audit searches are running. Try again in a moment."
        raise Problem(503, "Busy", detail, headers=build_retry_after(2, 5))
    try:
        with _running:
            return _read(reading)
    finally:
        _pending.release()


def _read(reading: Callable[[Fetch], T]) -> T:
    engine = db.engine
    if engine.dialect.name != "sqlite":
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            set_statement_timeout(connection, _STATEMENT_TIMEOUT_S)
            return reading(_postgres_fetch(connection))
    result: T = _threads.run(_read_sqlite, engine.url.database or "", engine.dialect, reading)
    return result


def run_in_thread(function: Callable[..., T], *args: Any) -> T:
    """Call `function` off the event loop, to convert rows: entries of a command on thousands of jobs are long."""
    result: T = _threads.run(function, *args)
    return result


def _read_sqlite(address: str, dialect: sa.Dialect, reading: Callable[[Fetch], T]) -> T:
    """Raises the driver's errors as SQLAlchemy does, so that whoever handles those handles these too."""
    try:
        with closing(open_file(address)) as connection:
            connection.execute("BEGIN")
            return reading(_sqlite_fetch(connection, dialect))
    except sqlite3.Error as error:
        raise sa.exc.DBAPIError.instance("an audit read", None, error, sqlite3.Error, dialect=dialect) from error


def _sqlite_fetch(connection: sqlite3.Connection, dialect: sa.Dialect) -> Fetch:
    def fetch(statement: sa.Executable, budget: ByteBudget | None = None) -> Rows:
        compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # every executable has it
        named = compiled.params
        values = [named[name] for name in compiled.positiontup or ()]
        with closing(connection.execute(str(compiled), values)) as cursor:
            if budget is None:
                return cursor.fetchall()
            return budget.take(iter(lambda: cursor.fetchmany(_ROWS_PER_FETCH), []))

    return fetch


def open_file(address: str) -> sqlite3.Connection:
    """Open the database read-only. `address` is the engine's `file:…`. Text that is not UTF-8 is returned as bytes."""
    connection = sqlite3.connect(f"{address}?mode=rw", uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    connection.text_factory = decode_text
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


def _postgres_fetch(connection: Connection) -> Fetch:
    def fetch(statement: sa.Executable, budget: ByteBudget | None = None) -> Rows:
        if budget is None:
            return [tuple(row) for row in connection.execute(statement)]
        # A server-side cursor, so that rows beyond the budget are never sent.
        options = {"stream_results": True, "max_row_buffer": _ROWS_PER_FETCH}
        with connection.execute(statement, execution_options=options) as result:
            return budget.take([tuple(row) for row in some] for some in result.partitions(_ROWS_PER_FETCH))

    return fetch

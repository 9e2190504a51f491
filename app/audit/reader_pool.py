"""Long reads of the audit off the event loop: a connection of their own, on a thread of their own.

A query over millions of rows runs inside SQLite, in C, and would hold every stream of the worker. psycopg waits as
everything else does under gevent, so PostgreSQL is read where one is. The threads are the audit's own: whoever logs in
or opens a stream waits for no search.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.db import db, set_statement_timeout
from app.infra import concurrency
from app.infra.problems import Problem, build_retry_after

T = TypeVar("T")
Row = tuple[Any, ...]
Rows = list[Row]

# A writer's checkpoint may hold the file for a moment.
_BUSY_S = 5.0
# For one statement of an export or of Verify on PostgreSQL, which has more to read than a page.
_READING_S = 30.0
# What pages are read from stays in memory while one connection looks.
_CACHE_KIB = 65_536
# Looks of a worker: so many at once, as threads or as connections of PostgreSQL's pool; so many that run or wait.
AT_ONCE = 3
MOST = 15
# Rows that are taken before their bytes are added up.
_PORTION = 50
_threads = concurrency.NativeThreads(AT_ONCE)
_turns = threading.BoundedSemaphore(MOST)
_running = threading.BoundedSemaphore(AT_ONCE)


class Budget:
    """How many bytes of rows one look may bring, by the `weight` of each. `is_spent`: there may be more rows."""

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
    """Runs a statement and answers with its rows as the driver made them; within a budget, with the first of them."""

    def __call__(self, statement: sa.Executable, budget: Budget | None = None) -> Rows: ...


def look(reading: Callable[[Fetch], T], *, waits: bool = False) -> T:
    """What `reading` makes of the rows it asks for, all of them as of one moment.

    `reading` runs on a native thread: it computes, and touches neither Flask nor a session. Where too many look, that
    is a 503; who `waits` has begun an answer already and gets a turn later.
    """
    if not _turns.acquire(blocking=waits):
        detail = "Too many people search the audit just now. Try again in a moment."
        raise Problem(503, "Busy", detail, headers=build_retry_after(2, 5))
    try:
        with _running:
            return _read(reading)
    finally:
        _turns.release()


def _read(reading: Callable[[Fetch], T]) -> T:
    engine = db.engine
    if engine.dialect.name != "sqlite":
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            set_statement_timeout(connection, _READING_S)
            return reading(_of_postgres(connection))
    result: T = _threads.run(_on_sqlite, engine.url.database or "", engine.dialect, reading)
    return result


def beside(function: Callable[..., T], *args: Any) -> T:
    """What `function` makes of what was read, off the loop: entries of a command on thousands of jobs are long."""
    result: T = _threads.run(function, *args)
    return result


def _on_sqlite(address: str, dialect: sa.Dialect, reading: Callable[[Fetch], T]) -> T:
    with closing(open_file(address)) as connection:
        connection.execute("BEGIN")

        def fetch(statement: sa.Executable, budget: Budget | None = None) -> Rows:
            compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # every executable has it
            named = compiled.params
            with closing(
                connection.execute(str(compiled), [named[name] for name in compiled.positiontup or ()])
            ) as cursor:
                if budget is None:
                    return cursor.fetchall()
                return budget.take(iter(lambda: cursor.fetchmany(_PORTION), []))

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
    def fetch(statement: sa.Executable, budget: Budget | None = None) -> Rows:
        if budget is None:
            return [tuple(row) for row in connection.execute(statement)]
        # On a cursor of the server's: what is over the budget is never sent.
        options = {"stream_results": True, "max_row_buffer": _PORTION}
        with connection.execute(statement, execution_options=options) as result:
            return budget.take([tuple(row) for row in some] for some in result.partitions(_PORTION))

    return fetch

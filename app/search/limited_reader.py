"""Reads for one search, on a connection of its own, until its time is up.

A statement inside SQLite runs in C and would block the streams of this worker, so it runs on a native thread, where a
progress handler ends it. PostgreSQL ends it by its own time limit.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from app.audit.reader_pool import open_file
from app.db import db, set_statement_timeout
from app.infra import concurrency
from app.infra.problems import Problem, build_retry_after

T = TypeVar("T")
Record = Mapping[str, Any]

# Searches of a worker that run at the same time, and that run or wait.
MAX_CONCURRENT_SEARCHES = 2
MAX_PENDING_SEARCHES = 30
# SQLite asks for the time after so many steps of its virtual machine: every millisecond or so.
_STEPS_PER_CHECK = 10_000
# A statement with less time than this is not worth its journey to PostgreSQL; zero would be no limit at all.
_MIN_STATEMENT_S = 0.005
_QUERY_CANCELED = "57014"
_threads = concurrency.NativeThreads(MAX_CONCURRENT_SEARCHES)
_pending = threading.BoundedSemaphore(MAX_PENDING_SEARCHES)
_running = threading.BoundedSemaphore(MAX_CONCURRENT_SEARCHES)


class TimeUp(Exception):
    """The time of the search is over. What was found before counts."""


class LimitedReader:
    """Fetches rows as mappings. Raises `TimeUp` in the statement during which the time is over, and in all later ones.

    `has_text_index`: messages can be searched by their words.
    """

    def __init__(self, dialect: str, execute: Callable[[sa.Executable], list[Record]], has_text_index: bool) -> None:
        self.dialect, self._execute, self.has_text_index = dialect, execute, has_text_index
        self._is_over = False

    def fetch(self, statement: sa.Executable) -> list[Record]:
        if self._is_over:
            raise TimeUp
        try:
            return self._execute(statement)
        except TimeUp:
            self._is_over = True  # on PostgreSQL, a statement that was ended ends its transaction
            raise


def run_search(search: Callable[[LimitedReader], T], ends_at: float) -> T:
    """Call `search` with a reader that stops at `ends_at`, which is of `time.monotonic`.

    `search` runs on a native thread, so it must not use Flask or a session. The caller must hold no connection.
    """
    if not _pending.acquire(blocking=False):
        raise _busy_problem()
    try:
        if not _running.acquire(timeout=max(0.0, ends_at - time.monotonic())):
            raise _busy_problem()
        try:
            return _read(search, ends_at)
        finally:
            _running.release()
    finally:
        _pending.release()


def _busy_problem() -> Problem:
    detail = "Too many searches are running. Try again in a moment."
    return Problem(503, "Busy", detail, headers=build_retry_after(1, 3))


def _read(search: Callable[[LimitedReader], T], ends_at: float) -> T:
    engine = db.engine
    if engine.dialect.name == "sqlite":
        result: T = _threads.run(_read_sqlite, engine.url.database or "", engine.dialect, search, ends_at)
        return result
    with engine.connect() as connection:
        # Words always have an index; and compiling a statement takes longer than running it.
        connection.execute(sa.text("SET LOCAL enable_seqscan = off; SET LOCAL jit = off"))
        return search(LimitedReader("postgresql", _postgres_execute(connection, ends_at), True))


def _read_sqlite(address: str, dialect: sa.Dialect, search: Callable[[LimitedReader], T], ends_at: float) -> T:
    with closing(open_file(address)) as connection:
        connection.row_factory = sqlite3.Row
        connection.set_progress_handler(lambda: time.monotonic() >= ends_at, _STEPS_PER_CHECK)
        named = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'failure_text'").fetchone()
        return search(LimitedReader("sqlite", _sqlite_execute(connection, dialect, ends_at), named is not None))


def _sqlite_execute(
    connection: sqlite3.Connection, dialect: sa.Dialect, ends_at: float
) -> Callable[[sa.Executable], list[Record]]:
    def execute(statement: sa.Executable) -> list[Record]:
        if time.monotonic() >= ends_at:
            raise TimeUp
        compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})  # type: ignore[attr-defined]  # every executable has it
        values = [compiled.params[name] for name in compiled.positiontup or ()]
        try:
            return [dict(row) for row in connection.execute(str(compiled), values)]
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise TimeUp from error
            raise

    return execute


def _postgres_execute(connection: Connection, ends_at: float) -> Callable[[sa.Executable], list[Record]]:
    def execute(statement: sa.Executable) -> list[Record]:
        left = ends_at - time.monotonic()
        if left < _MIN_STATEMENT_S:
            raise TimeUp
        set_statement_timeout(connection, left)
        try:
            return [row._asdict() for row in connection.execute(statement)]
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) == _QUERY_CANCELED:
                raise TimeUp from error
            raise

    return execute

"""Stores each worker's stream counts in the database, reads those of other workers and grants new streams.

Rows that are not renewed stop counting after three seconds of the database's time, so a killed worker locks nobody out.
Only the worker itself writes its rows, except that any worker removes the rows of workers that died long ago.
"""

import json
import os
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from flask import Flask
from sqlalchemy import event
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from app.config import Settings
from app.db import DatabaseUnavailable, configure_engine, engine_url, insert_into, now_epoch, read, write
from app.infra import concurrency
from app.stream.models import PresenceRow

ROW_EXPIRES_S = 3.0
DEAD_WORKER_S = 60.0
# For the thread's own connection, where waiting in C blocks nobody. Shorter than a row's lifetime.
SQLITE_BUSY_MS = 1_000
# Number of PostgreSQL advisory locks that all users share, because its lock table is bounded.
USER_LOCKS = 64

T = TypeVar("T")

DATABASE_ERRORS = (SQLAlchemyError, DatabaseUnavailable)
"""Every method of the store raises one of these while the database does not answer."""


@dataclass(frozen=True, slots=True)
class SlotClaim:
    """A request for more streams of one user, granted as far as the cap allows."""

    has: int
    """Streams that this worker counts now."""
    wants: int


@dataclass(frozen=True, slots=True)
class PresenceUpdate:
    """A worker's changes, written in one transaction."""

    changes: Mapping[str, int]
    """New counts of users whose count has changed; zero removes the row."""
    renew: Mapping[str, int] | None = None
    """All of the worker's counts if `seen` of all its rows is to be renewed, else None."""
    sweep: bool = False
    """Remove the rows of workers that have been silent for a minute."""
    claims: Mapping[str, SlotClaim] = field(default_factory=dict)
    """By user."""


class PresenceStore:
    """Reads and writes the rows. Every method raises one of `DATABASE_ERRORS` when the database does not answer.

    On SQLite, writes run on a native thread with its own connection, because renewing thousands of rows takes
    milliseconds in C. On PostgreSQL the pool is enough: psycopg waits cooperatively and the server renews the rows.
    One caller at a time may write; any number may read.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = app
        self._thread_connection = _ThreadConnection(settings.database_url) if settings.is_sqlite else None
        with app.app_context():
            now = now_epoch()
        self._elsewhere, self._others = _select_elsewhere(now), _select_others(now)
        self._rows = _RowWriter(now, settings.max_streams_per_user, is_sqlite=settings.is_sqlite)

    def count_elsewhere(self, worker: str, user: str) -> int:
        """Count the streams of `user` on all other workers, as they last reported them."""
        with self._app.app_context(), read() as session:
            return session.scalar(self._elsewhere, {"worker": worker, "user": user}) or 0

    def has_others(self, worker: str) -> bool:
        """True if any other worker has streams."""
        with self._app.app_context(), read() as session:
            return session.execute(self._others, {"worker": worker}).first() is not None

    def save(self, worker: str, update: PresenceUpdate) -> Mapping[str, int]:
        """Write `update` completely or not at all. Returns how many of the claimed streams each user gets.

        From reading the other workers' rows to the commit, no other worker decides about the same user.
        """
        return self._write(lambda connection: self._rows.save(connection, worker, update))

    def remove_worker(self, worker: str) -> None:
        """Delete all rows of `worker`."""
        self._write(lambda connection: self._rows.forget(connection, worker))

    def close(self) -> None:
        """Close the connection; the next write opens a new one."""
        if self._thread_connection is not None:
            concurrency.run_in_thread(self._thread_connection.close)

    def _write(self, work: Callable[[Connection], T]) -> T:
        if self._thread_connection is not None:
            done: T | SQLAlchemyError = concurrency.run_in_thread(self._thread_connection.transact, work)
            if isinstance(done, SQLAlchemyError):
                raise done
            return done
        with self._app.app_context(), write() as session:
            return work(session.connection())


class _RowWriter:
    """Runs the statements on a worker's rows. They are built once: building one takes longer than running it."""

    def __init__(self, now: sa.ColumnElement[float], cap: int, *, is_sqlite: bool) -> None:
        self._cap = cap
        of_worker = PresenceRow.worker == sa.bindparam("of_worker")
        self._upsert = _build_upsert(now, is_sqlite=is_sqlite)
        self._claimed = _select_claimed(now, is_sqlite=is_sqlite)
        # None on SQLite, whose transaction holds the only lock from its beginning.
        self._lock = None if is_sqlite else _LOCK_USERS
        self._renewal = sa.update(PresenceRow).where(of_worker).values(seen=now)
        self._removal = sa.delete(PresenceRow).where(of_worker)
        self._closing = self._removal.where(PresenceRow.count == 0)
        self._sweep = sa.delete(PresenceRow).where(PresenceRow.seen < now - DEAD_WORKER_S)

    def save(self, connection: Connection, worker: str, update: PresenceUpdate) -> Mapping[str, int]:
        granted = self._grant(connection, worker, update.claims) if update.claims else {}
        grown = {user: update.claims[user].has + more for user, more in granted.items() if more}
        self._upsert_counts(connection, worker, {**update.changes, **grown})
        if update.renew is not None:
            self._renew(connection, worker, {**update.renew, **grown})
        if update.sweep:
            connection.execute(self._sweep)
        return granted

    def forget(self, connection: Connection, worker: str) -> None:
        connection.execute(self._removal, {"of_worker": worker})

    def _grant(self, connection: Connection, worker: str, claims: Mapping[str, SlotClaim]) -> dict[str, int]:
        if self._lock is not None:
            # A separate statement, so that the next one sees what was committed before the locks were acquired.
            connection.execute(self._lock, {"locks": _lock_ids(claims)})
        asked = {"of_worker": worker, "pairs": json.dumps(dict.fromkeys(claims, 0))}
        others = dict(connection.execute(self._claimed, asked).all())
        room = {user: self._cap - claim.has - others.get(user, 0) for user, claim in claims.items()}
        return {user: max(0, min(claim.wants, room[user])) for user, claim in claims.items()}

    def _upsert_counts(self, connection: Connection, worker: str, counts: Mapping[str, int]) -> None:
        if counts:
            connection.execute(self._upsert, {"of_worker": worker, "pairs": json.dumps(dict(counts))})
        if 0 in counts.values():
            connection.execute(self._closing, {"of_worker": worker})

    def _renew(self, connection: Connection, worker: str, counts: Mapping[str, int]) -> None:
        """Renew all rows. If they were swept because this worker was frozen for a minute, write all of them again."""
        if connection.execute(self._renewal, {"of_worker": worker}).rowcount != len(counts):
            self.forget(connection, worker)
            self._upsert_counts(connection, worker, counts)


# Takes the locks in ascending order, as `_lock_ids` returns them, so that two transactions cannot deadlock.
_LOCK_USERS = sa.text("SELECT pg_advisory_xact_lock(4207004, wanted) FROM unnest(CAST(:locks AS int[])) AS wanted")


def _lock_ids(users: Collection[str]) -> list[int]:
    return sorted({zlib.crc32(user.encode()) % USER_LOCKS for user in users})


def _build_upsert(now: sa.ColumnElement[float], *, is_sqlite: bool) -> sa.Executable:
    """Build one upsert for any number of users."""
    pairs = _pairs(is_sqlite=is_sqlite)
    worker = sa.bindparam("of_worker", type_=sa.Text)
    # Without a WHERE, SQLite would parse ON CONFLICT as the ON of a join.
    rows = sa.select(worker, pairs.c.key, sa.cast(pairs.c.value, sa.Integer), now).where(sa.true())
    insert = insert_into(PresenceRow, "sqlite" if is_sqlite else "postgresql")
    said = {"count": insert.excluded["count"], "seen": insert.excluded["seen"]}
    upsert = insert.on_conflict_do_update(index_elements=["worker", "user"], set_=said)
    return upsert.from_select(["worker", "user", "count", "seen"], rows)


def _select_claimed(now: sa.ColumnElement[float], *, is_sqlite: bool) -> sa.Select[str, int]:
    """Select other workers' counts for any number of users."""
    users = sa.select(_pairs(is_sqlite=is_sqlite).c.key)
    others = sa.and_(PresenceRow.user.in_(users), PresenceRow.worker != sa.bindparam("of_worker"), _is_alive(now))
    return sa.select(PresenceRow.user, sa.func.sum(PresenceRow.count)).where(others).group_by(PresenceRow.user)


def _pairs(*, is_sqlite: bool) -> sa.TableValuedAlias:
    """Counts by user as a table; they are passed as one JSON object."""
    text = sa.bindparam("pairs", type_=sa.Text)
    if is_sqlite:
        return sa.func.json_each(text).table_valued("key", "value")
    return sa.func.json_each_text(sa.cast(text, postgresql.JSON)).table_valued("key", "value")


def _select_elsewhere(now: sa.ColumnElement[float]) -> sa.Select[int]:
    """Built once: building this query takes ten times as long as running it."""
    others = sa.and_(PresenceRow.user == sa.bindparam("user"), PresenceRow.worker != sa.bindparam("worker"))
    return sa.select(sa.func.coalesce(sa.func.sum(PresenceRow.count), 0)).where(others, _is_alive(now))


def _select_others(now: sa.ColumnElement[float]) -> sa.Select[int]:
    return sa.select(sa.literal(1)).where(PresenceRow.worker != sa.bindparam("worker"), _is_alive(now)).limit(1)


def _is_alive(now: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Match recent rows. Rows from the future do not count: the clock may have been set back since then."""
    return PresenceRow.seen.between(now - ROW_EXPIRES_S, now + ROW_EXPIRES_S)


class _ThreadConnection:
    """A connection for native threads, one at a time. It stays open, because opening costs more than a transaction.

    It does not use a pool, because a pool's locks belong to the event loop.
    """

    def __init__(self, database_url: str) -> None:
        self._path = database_url.removeprefix("sqlite:///")
        self._engine = sa.create_engine(
            engine_url(database_url), poolclass=NullPool, execution_options={"beacon_writing": True}
        )
        configure_engine(self._engine)
        event.listen(self._engine, "connect", _set_pragmas)
        self._connection: Connection | None = None
        self._file: tuple[int, int] | None = None

    def transact(self, work: Callable[[Connection], T]) -> T | SQLAlchemyError:
        """Run `work` in a transaction. Errors are returned: gevent prints a traceback of what its threads raise."""
        try:
            connection = self._get_connection()
            with connection.begin():
                return work(connection)
        except SQLAlchemyError as error:
            self.close()
            return error

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _get_connection(self) -> Connection:
        file = _file_identity(self._path)
        if file != self._file:
            # The open connection would keep writing to the file that was moved away.
            self.close()
        if self._connection is None:
            self._connection, self._file = self._engine.connect(), file
        return self._connection


def _file_identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 -- runs for every write, and a Path would be built for nothing
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _set_pragmas(connection: Any, _record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_MS}")
    # These rows may be lost in a power cut. Anyone's later commit with synchronous=FULL makes them durable as well.
    connection.execute("PRAGMA synchronous=NORMAL")

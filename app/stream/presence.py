"""How many streams a user has on the other workers, and what this worker tells them of its own.

Rows that nobody renews stop counting after three seconds of the database's time, so a worker that was killed locks
nobody out. A worker's rows are written by that worker alone, except that anyone removes those of the long dead.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from app import offloop
from app.config import Settings
from app.db import DatabaseUnavailable, configure_engine, engine_url, now_epoch, read, write
from app.stream.models import PresenceRow

EXPIRE_S = 3.0
DEAD_S = 60.0
# For the thread's own connection, where waiting in C holds up nobody; shorter than a row lives.
BUSY_MS = 1_000

AWAY = (SQLAlchemyError, DatabaseUnavailable)
"""What every method of the store raises while the database does not answer."""


@dataclass(frozen=True, slots=True)
class Update:
    """What a worker writes in one transaction."""

    changes: Mapping[str, int]
    """Users whose count is another one now; zero removes the row."""
    renew: Mapping[str, int] | None = None
    """All of the worker's counts, where `seen` of all its rows is to be brought up to date."""
    sweep: bool = False
    """Remove the rows of workers that have been silent for a minute."""


class PresenceStore:
    """The rows, read and written. Every method raises one of `AWAY` when the database does not answer.

    On SQLite writing goes to a real thread with a connection of its own: renewing thousands of rows takes
    milliseconds in C. psycopg waits cooperatively, and the rows are renewed inside the server: there the pool serves.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = app
        self._engine = _engine(settings.database_url) if settings.is_sqlite else None
        with app.app_context():
            self._now = now_epoch()
        self._elsewhere = _elsewhere(self._now)
        self._others = _others(self._now)

    def elsewhere(self, worker: str, user: str) -> int:
        """The streams of `user` on all workers but this one, as these last said."""
        with self._app.app_context(), read() as session:
            return session.scalar(self._elsewhere, {"worker": worker, "user": user}) or 0

    def has_others(self, worker: str) -> bool:
        """Whether any other worker has streams."""
        with self._app.app_context(), read() as session:
            return session.execute(self._others, {"worker": worker}).first() is not None

    def save(self, worker: str, update: Update) -> None:
        """All of `update`, or nothing of it."""
        rows = _Rows(worker, self._now, is_sqlite=self._engine is not None)
        self._write(lambda connection: rows.save(connection, update))

    def forget(self, worker: str) -> None:
        """Remove all rows of `worker`."""
        self._write(lambda connection: connection.execute(_of(worker)))

    def _write(self, work: Callable[[Connection], object]) -> None:
        if self._engine is not None:
            error: SQLAlchemyError | None = offloop.call(_transact, self._engine, work)
            if error is not None:
                raise error
            return
        with self._app.app_context(), write() as session:
            work(session.connection())


class _Rows:
    """The statements for one worker's rows."""

    def __init__(self, worker: str, now: sa.ColumnElement[float], *, is_sqlite: bool) -> None:
        self._worker, self._now, self._is_sqlite = worker, now, is_sqlite

    def save(self, connection: Connection, update: Update) -> None:
        self._change(connection, update.changes)
        if update.renew is not None:
            self._renew(connection, update.renew)
        if update.sweep:
            connection.execute(sa.delete(PresenceRow).where(PresenceRow.seen < self._now - DEAD_S))

    def _change(self, connection: Connection, changes: Mapping[str, int]) -> None:
        if changes:
            connection.execute(self._upsert(changes))
        if 0 in changes.values():
            connection.execute(_of(self._worker).where(PresenceRow.count == 0))

    def _renew(self, connection: Connection, counts: Mapping[str, int]) -> None:
        """A worker that was frozen for a minute finds its rows swept: then all of them are written anew."""
        renewed = sa.update(PresenceRow).where(PresenceRow.worker == self._worker).values(seen=self._now)
        if connection.execute(renewed).rowcount != len(counts):
            connection.execute(_of(self._worker))
            self._change(connection, counts)

    def _upsert(self, counts: Mapping[str, int]) -> sa.Executable:
        """One statement for any number of users: they travel as one JSON object."""
        pairs = self._pairs(json.dumps(dict(counts)))
        # Without a WHERE, SQLite would take ON CONFLICT for a join's ON.
        rows = sa.select(sa.literal(self._worker), pairs.c.key, sa.cast(pairs.c.value, sa.Integer), self._now).where(
            sa.true()
        )
        dialect = sqlite if self._is_sqlite else postgresql
        insert = dialect.insert(PresenceRow).from_select(["worker", "user", "count", "seen"], rows)
        said = {"count": insert.excluded["count"], "seen": insert.excluded["seen"]}
        upsert: sa.Executable = insert.on_conflict_do_update(index_elements=["worker", "user"], set_=said)
        return upsert

    def _pairs(self, text: str) -> sa.TableValuedAlias:
        if self._is_sqlite:
            return sa.func.json_each(text).table_valued("key", "value")
        return sa.func.json_each_text(sa.cast(sa.literal(text, sa.Text), postgresql.JSON)).table_valued("key", "value")


def _elsewhere(now: sa.ColumnElement[float]) -> sa.Select[int]:
    """Made once: building it takes ten times as long as asking it."""
    others = sa.and_(PresenceRow.user == sa.bindparam("user"), PresenceRow.worker != sa.bindparam("worker"))
    return sa.select(sa.func.coalesce(sa.func.sum(PresenceRow.count), 0)).where(others, _is_alive(now))


def _others(now: sa.ColumnElement[float]) -> sa.Select[int]:
    return sa.select(sa.literal(1)).where(PresenceRow.worker != sa.bindparam("worker"), _is_alive(now)).limit(1)


def _is_alive(now: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Nothing from the future either: the clock may have been set back since a dead worker wrote."""
    return PresenceRow.seen.between(now - EXPIRE_S, now + EXPIRE_S)


def _of(worker: str) -> sa.Delete:
    return sa.delete(PresenceRow).where(PresenceRow.worker == worker)


def _engine(database_url: str) -> sa.Engine:
    """For the thread: no pool, because a pool's locks are the event loop's; every connection is short."""
    engine = sa.create_engine(engine_url(database_url), poolclass=NullPool, execution_options={"beacon_writing": True})
    configure_engine(engine)
    event.listen(engine, "connect", _patient)
    return engine


def _patient(connection: Any, _record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    # Losing these rows in a power cut is what they are for; a later commit of anyone else makes them last with its own.
    connection.execute("PRAGMA synchronous=NORMAL")


def _transact(engine: sa.Engine, work: Callable[[Connection], object]) -> SQLAlchemyError | None:
    """Hands an error back: gevent prints the trace of whatever a function of its thread pool raises."""
    try:
        with engine.begin() as connection:
            work(connection)
    except SQLAlchemyError as error:
        return error
    return None

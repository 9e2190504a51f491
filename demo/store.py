"""The SQLite file: schema, transactions and every query about jobs."""

import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

from demo.clock import Clock, iso
from demo.job import STATES, EndState, Job, State, Tombstone

SCHEMA_VERSION = 1
SCHEMA = Path(__file__).with_name("schema.sql")


class UnusableDatabase(Exception):
    """The file cannot serve as this service's database; the message says why."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One run of the service, and how many changes its jobs have seen."""

    revision: int
    id: str
    started_at: str


@dataclass(frozen=True, slots=True)
class Copy:
    """The whole database as it was when the service's clock read `reading`."""

    database: sqlite3.Connection
    reading: datetime


class Store:
    """One connection, guarded by a lock: every transaction sees and makes one consistent state."""

    def __init__(self, database: Path, clock: Clock) -> None:
        self.clock = clock
        self._lock = threading.RLock()
        self._db = _open(database)
        self.renew_instance()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. An inner one joins the outer one: the lock is this thread's already."""
        with self._lock:
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def now(self) -> str:
        return iso(self.clock.now())

    # The service as a whole

    def instance(self) -> Instance:
        with self.transaction() as db:
            return Instance(*db.execute("SELECT revision, instance_id, started_at FROM service").fetchone())

    def renew_instance(self) -> None:
        with self.transaction() as db:
            db.execute("UPDATE service SET instance_id = ?, started_at = ?", (uuid.uuid4().hex, self.now()))

    # Looking

    def counts(self) -> dict[State, int]:
        with self.transaction() as db:
            found = dict(db.execute("SELECT state, count(*) FROM job GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in STATES}

    def find(self, job_id: str) -> Job | None:
        return next(self._jobs("WHERE id = ?", job_id), None)

    def page(self, state: State | None, after: str, limit: int) -> list[Job]:
        """The jobs with an id above `after`, in the order of their ids."""
        if state is None:
            return list(self._jobs("WHERE id > ? ORDER BY id LIMIT ?", after, limit))
        return list(self._jobs("WHERE state = ? AND id > ? ORDER BY id LIMIT ?", state, after, limit))

    def in_state(self, state: State) -> list[Job]:
        return list(self._jobs("WHERE state = ? ORDER BY id", state))

    def in_queue(self, queue: str, state: State) -> list[Job]:
        return list(self._jobs("WHERE state = ? AND queue = ? ORDER BY id", state, queue))

    def running_since(self, moment: str) -> list[Job]:
        """The running jobs that started at `moment` or before it, longest first."""
        return list(self._jobs("WHERE state = 'running' AND started_at <= ? ORDER BY started_at, id", moment))

    def oldest_unfinished(self, limit: int) -> list[Job]:
        where = "WHERE state IN ('queued', 'running') ORDER BY enqueued_at, id LIMIT ?"
        return list(self._jobs(where, limit))

    def unscheduled(self, limit: int) -> list[Job]:
        return list(self._jobs("WHERE state IN ('queued', 'running') AND due_at IS NULL LIMIT ?", limit))

    def due(self, moment: str, limit: int) -> list[Job]:
        where = "WHERE state IN ('queued', 'running') AND due_at <= ? ORDER BY due_at LIMIT ?"
        return list(self._jobs(where, moment, limit))

    def finished_before(self, state: State, moment: str) -> list[Job]:
        return list(self._jobs("WHERE state = ? AND finished_at < ?", state, moment))

    def tombstone(self, job_id: str) -> Tombstone | None:
        with self.transaction() as db:
            row = db.execute("SELECT id, state, finished_at FROM tombstone WHERE id = ?", (job_id,)).fetchone()
        return Tombstone(*row) if row else None

    def is_new(self) -> bool:
        """No job was ever here."""
        with self.transaction():
            return self.instance().revision == 0

    # Changing

    def put(self, *jobs: Job) -> None:
        """Write the jobs as they are now. An id that comes back is no longer gone."""
        with self.transaction() as db:
            db.executemany("DELETE FROM tombstone WHERE id = ?", [(job.id,) for job in jobs])
            db.executemany(
                "INSERT INTO job VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " state = excluded.state, queue = excluded.queue, attempt = excluded.attempt,"
                " enqueued_at = excluded.enqueued_at, started_at = excluded.started_at,"
                " finished_at = excluded.finished_at, error = excluded.error, due_at = excluded.due_at",
                map(astuple, jobs),
            )

    def schedule(self, job: Job, due_at: datetime) -> None:
        """No change that the API shows, so the revision stays."""
        with self.transaction() as db:
            db.execute("UPDATE job SET due_at = ? WHERE id = ?", (iso(due_at), job.id))

    def remove(self, jobs: Iterable[Job], end: EndState | None = None) -> list[Tombstone]:
        """Take the jobs away, and remember how each ended: as `end`, or as it had finished."""
        now = self.now()
        tombstones = [
            Tombstone(job.id, end or cast(EndState, job.state), now if end else job.finished_at or now) for job in jobs
        ]
        with self.transaction() as db:
            db.executemany("DELETE FROM job WHERE id = ?", [(gone.id,) for gone in tombstones])
            db.executemany("INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?)", map(astuple, tombstones))
        return tombstones

    def lose(self, limit: int) -> list[str]:
        """Take unfinished jobs away without a trace: the oldest, which watchers have surely seen."""
        with self.transaction() as db:
            lost = [job.id for job in self.oldest_unfinished(limit)]
            db.executemany("DELETE FROM job WHERE id = ?", [(job_id,) for job_id in lost])
        return lost

    def clear(self) -> None:
        """Forget everything except the revision, which never falls but in a rewind."""
        with self.transaction() as db:
            for table in ("job", "tombstone", "idempotency", "call"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - constants of this line

    def forget_before(self, moment: str) -> None:
        """Drop old tombstones, answers and calls, so that the file does not grow for ever."""
        with self.transaction() as db:
            db.execute("DELETE FROM tombstone WHERE finished_at < ?", (moment,))
            db.execute("DELETE FROM idempotency WHERE at < ?", (moment,))
            db.execute("DELETE FROM call WHERE at < ?", (moment,))

    # Copies

    def copy(self) -> Copy:
        with self._lock:
            target = sqlite3.connect(":memory:", check_same_thread=False)
            self._db.backup(target)
            return Copy(target, self.clock.now())

    def restore(self, copy: Copy) -> None:
        """Go back to the copy, and the clock with it. The calls stay: they did happen."""
        with self._lock:
            calls = self._db.execute("SELECT * FROM call").fetchall()
            copy.database.backup(self._db)
            self.clock.set(copy.reading)
            with self.transaction() as db:
                db.execute("DELETE FROM call")
                db.executemany("INSERT INTO call VALUES (?, ?, ?, ?, ?, ?)", calls)
                self.renew_instance()

    def _jobs(self, where: str, *parameters: object) -> Iterator[Job]:
        """`where` is always a constant of this module; what comes from outside is bound."""
        with self.transaction() as db:
            rows = db.execute(f"SELECT * FROM job {where}", parameters).fetchall()  # noqa: S608 - see above
        return (Job(*row) for row in rows)


def _open(database: Path) -> sqlite3.Connection:
    db = None
    try:
        # isolation_level=None: Store.transaction() alone begins and ends transactions.
        db = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        _migrate(db)
    except sqlite3.DatabaseError as error:
        if db is not None:
            db.close()
        raise UnusableDatabase(f"cannot use {database} as the database: {error}") from error
    return db


def _migrate(db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        db.executescript(f"BEGIN; {SCHEMA.read_text(encoding='utf-8')} COMMIT;")
    elif version != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"it has schema version {version}, this program knows {SCHEMA_VERSION}")

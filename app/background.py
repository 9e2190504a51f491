"""The live half of one worker: the threads that hear, read and tell. Built by the factory, started by the server."""

import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import Protocol

from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from app.config import Settings
from app.db import DatabaseUnavailable, committed, db, read
from app.eventlog import event_retention, wakeup
from app.eventlog import reader as log_read
from app.eventlog.continuity import Continuity
from app.eventlog.log_size import LogSizeMeter
from app.eventlog.reader import EventPage
from app.eventlog.tail import Tail
from app.infra import schema_version
from app.infra.logs import FailureLog
from app.infra.sqlite_wal import WalMonitor
from app.stream.admission import Admission
from app.stream.build_stream import StreamEngine
from app.stream.hub import Hub
from app.stream.presence import PresenceStore

log = logging.getLogger(__name__)

PRUNE_EVERY_S = 600.0
START_RETRY_S = 0.5
# Events that are decoded before the loop turns again.
TAIL_PAGE_EVENTS = 100
# Events read from the log at a time for one reader that is behind.
REPLAY_PAGE_EVENTS = 100
# So far back, whoever resumes after a restart is read to from memory.
PREFILL_EVENTS = 1_000
CHECKPOINT_EVERY_S = 5.0
MARK_EVERY_S = 1.0
LOG_LIMIT_EVERY_S = 10.0


class BackgroundPart(Protocol):
    """Something that runs beside the requests."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class DrainablePart(Protocol):
    """A part whose work must not be cut off: first `drain` is called, then `wait` until a moment (monotonic)."""

    def drain(self) -> None: ...
    def wait(self, ends: float) -> None: ...


class BackgroundServices:
    """Tail, hub and whatever else was added; `start` and `stop` are idempotent and belong to the server's hooks."""

    def __init__(self, app: Flask, settings: Settings, hub: Hub) -> None:
        self._app = app
        self.settings = settings
        self.hub = hub
        self._continuity = Continuity(app, settings)
        self.tail = Tail(
            lambda: wakeup.build_notifier(settings.database_url),
            self._read_after,
            self._continuity.resume,
            self._recover,
        )
        self.engine = StreamEngine(hub, settings, self._read_log, self.is_degraded)
        self.admission = Admission(settings, PresenceStore(app, settings))
        retention_days = settings.event_retention_days
        self._parts: list[BackgroundPart] = [
            self.admission,
            self.engine,
            self.tail,
            Periodic(MARK_EVERY_S, self._continuity.record_head),
            Periodic(
                PRUNE_EVERY_S,
                self._in_app_context("log retention", lambda: event_retention.prune(retention_days)),
            ),
        ]
        self.log_measure = LogSizeMeter()
        limit = event_retention.LogLimit(
            settings.event_max_rows, settings.event_max_mib * 1024 * 1024, self.log_measure
        )
        self._parts.append(Periodic(LOG_LIMIT_EVERY_S, self._in_app_context("log size limit", limit.enforce)))
        self.wal: WalMonitor | None = None
        if settings.is_sqlite:
            self.wal = WalMonitor(settings.database_url.removeprefix("sqlite:///"))
            self._parts.append(Periodic(CHECKPOINT_EVERY_S, self.wal.checkpoint))
        self._drains: list[DrainablePart] = []
        self._drain_s = settings.drain_s
        self.started = False
        self._stopping = threading.Event()

    def add_first(self, part: BackgroundPart) -> None:
        """One that stops when all others have: it sees them end."""
        self._parts.insert(0, part)

    def add(self, part: BackgroundPart) -> None:
        """Parts start in the order in which they were added, and stop in the opposite one."""
        self._parts.append(part)

    def add_drainable(self, part: DrainablePart) -> None:
        """One that a worker which ends waits for, together with the streams and no longer than for them."""
        self._drains.append(part)

    def start_when_ready(self) -> None:
        """Start, now or as soon as the database answers; until then the worker is not ready and takes no streams.

        A worker that gave up instead would take the whole server with it: gunicorn ends when one cannot boot.
        """
        why = self._find_obstacle()
        if why is None:
            self.start()
            return
        log.error("%s; this worker starts when it is back", why)
        threading.Thread(target=self._wait_for_database, args=(why,), name="begin", daemon=True).start()

    def start(self) -> None:
        if self.started:
            return
        for part in self._parts:
            part.start()
        committed.connect(self._wake_tail)
        self._prefill()
        self.started = True

    def stop(self) -> None:
        self._stopping.set()
        if not self.started:
            return
        committed.disconnect(self._wake_tail)
        for part in reversed(self._parts):
            part.stop()
        try:
            self._continuity.record_head()
        except (SQLAlchemyError, DatabaseUnavailable) as error:
            log.warning("what the log has handed out is not written down, the database is away: %s", error)
        self.started = False

    def drain(self) -> None:
        """Say goodbye in order: readiness off, streams told one after the other, within `DRAIN_S`."""
        if not self.started:
            return
        ends = time.monotonic() + self._drain_s
        for part in self._drains:
            part.drain()
        self.engine.drain()
        for part in self._drains:
            part.wait(ends)

    def is_degraded(self) -> bool:
        """True while the log cannot be read."""
        return self.tail.degraded

    def _find_obstacle(self) -> str | None:
        """Why this worker cannot serve yet, and what to do about it."""
        try:
            with self._app.app_context(), read() as session:
                lack = schema_version.find_schema_problem(session)
        except (SQLAlchemyError, DatabaseUnavailable) as error:
            told = str(getattr(error, "orig", None) or error).strip().splitlines()
            where = "BEACON_DATABASE_URL" if not self.settings.is_sqlite else "BEACON_INSTANCE_DIR"
            return f"the database is away ({told[0] if told else error!r}); see that it runs, and where {where} points"
        return None if lack is None else lack[1]

    def _wait_for_database(self, told: str) -> None:
        while not self._stopping.wait(START_RETRY_S):
            self._recover()
            why = self._find_obstacle()
            if why is None:
                log.warning("the database is back, this worker starts")
                self.start()
                return
            if why.partition("(")[0] != told.partition("(")[0]:  # the driver's words may differ each time
                log.error("%s; this worker starts when it is back", why)
                told = why

    def _wake_tail(self, _sender: object) -> None:
        self.tail.wake()

    def _read_log(self, cursor: int, audiences: Collection[str]) -> EventPage:
        """For the replay: a look that holds a connection no longer than it takes."""
        with self._app.app_context(), read() as session:
            page = log_read.read_visible(session, cursor, audiences, REPLAY_PAGE_EVENTS)
            bounds = log_read.bounds(session)  # asked afterwards: the floor may have risen during the replay
            if cursor < bounds.floor or bounds.is_lost(cursor):
                raise log_read.CursorPruned
            return page

    def _prefill(self) -> None:
        """The newest events into memory, for those who come back after a restart."""
        with self._app.app_context(), read() as session:
            floor = max(log_read.floor(session), self.hub.cursor - PREFILL_EVENTS)
            page = log_read.read_after(session, floor, PREFILL_EVENTS)
        self.hub.ring.prefill(page.events, floor, page.cursor)

    def _read_after(self, cursor: int) -> EventPage:
        with self._app.app_context(), read() as session:
            page = log_read.read_after(session, cursor, TAIL_PAGE_EVENTS)
            self._continuity.check(session, cursor, page)
            return page

    def _read_head(self) -> int:
        with self._app.app_context(), read() as session:
            return log_read.head(session)

    def _recover(self) -> None:
        """Pooled connections may still hold a file that was moved away. Those to a server are tried before each use."""
        with self._app.app_context():
            if db.engine.dialect.name == "sqlite":
                db.engine.dispose()

    def _in_app_context(self, name: str, call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            with self._app.app_context():
                call()

        run.__qualname__ = name  # which the log tells
        return run


class Periodic:
    """Runs something again and again; of a failure the log hears, rarely where it lasts, and the next turn comes."""

    def __init__(self, interval_s: float, call: Callable[[], None]) -> None:
        self._interval_s, self._call = interval_s, call
        self._failure_log = FailureLog(log, getattr(call, "__qualname__", "a periodic task"))
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            try:
                self._call()
            except Exception as error:  # noqa: BLE001 -- whatever it is, it is told and the next turn comes
                self._failure_log.record_failure(error)
            else:
                self._failure_log.record_success()


def get_background() -> BackgroundServices:
    """The live half of the current application."""
    found: BackgroundServices = current_app.extensions["beacon_live"]
    return found

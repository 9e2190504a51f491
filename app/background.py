"""Runs the background threads of one process; the factory builds them, the server starts and stops them."""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.components import components
from app.config import Settings
from app.db import DatabaseUnavailable, committed, db, distrust_connections, read
from app.eventlog import reader as log_read
from app.eventlog import wakeup
from app.eventlog.continuity import Continuity
from app.eventlog.log_size import LogSizeMeter
from app.eventlog.reader import EventPage
from app.eventlog.tail import Tail
from app.infra import schema_version
from app.infra.app_context import in_app_context
from app.infra.logs import FailureLog
from app.infra.rate_limits import SharedCounters
from app.infra.sqlite_wal import WalMonitor
from app.stream.admission import Admission
from app.stream.build_stream import StreamEngine
from app.stream.hub import Hub
from app.stream.presence import PresenceStore

if TYPE_CHECKING:
    from app.eventlog.redis_wakeups import RedisWakeups

log = logging.getLogger(__name__)

START_RETRY_S = 0.5
# Events decoded before the tail yields to the loop.
TAIL_PAGE_EVENTS = 100
# Events read from the log at a time for one lagging subscriber.
REPLAY_PAGE_EVENTS = 100
# Number of events loaded into memory at start, so that clients that reconnect after a restart need no query.
PREFILL_EVENTS = 1_000
CHECKPOINT_EVERY_S = 5.0
MARK_EVERY_S = 1.0
MEASURE_LOG_EVERY_S = 10.0


class BackgroundPart(Protocol):
    """Something that runs in the background, beside the requests."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class BackgroundServices(ABC):
    """The tail and all added parts. `start` and `stop` are idempotent and called by the server's hooks."""

    def __init__(self, app: Flask, settings: Settings, tail_pause_s: float = 0.0) -> None:
        self._app = app
        self.settings = settings
        self._continuity = Continuity(app, settings)
        self._check_every_s = tail_pause_s or wakeup.CHECK_INTERVAL_S
        self.tail = Tail(
            self._make_notifier,
            self._read_after,
            self._continuity.resume,
            self._recover,
            tail_pause_s,
        )
        self._parts: list[BackgroundPart] = [self.tail]
        self._wakeups: RedisWakeups | None = None
        if (
            settings.redis_url and not settings.is_sqlite
        ):  # processes that share a SQLite file wake each other without a server
            from app.eventlog import redis_wakeups  # local: most servers need no Redis client

            self._wakeups = redis_wakeups.RedisWakeups(settings.redis_url, self.tail.wake)
            self._parts.append(self._wakeups)
        self.wal: WalMonitor | None = None
        if settings.is_sqlite:
            self.wal = WalMonitor(settings.database_url.removeprefix("sqlite:///"))
            self._parts.append(Periodic(CHECKPOINT_EVERY_S, self.wal.checkpoint))
        self.started = False
        self._stopping = threading.Event()

    def add_first(self, part: BackgroundPart) -> None:
        """Add a part that stops after all others."""
        self._parts.insert(0, part)

    def add(self, part: BackgroundPart) -> None:
        """Add a part. Parts start in the order in which they were added, and stop in reverse order."""
        self._parts.append(part)

    def add_task(self, interval_s: float, name: str, call: Callable[[], object]) -> None:
        """Add a periodic task that runs in an application context; `name` is its name in log lines."""
        self.add(Periodic(interval_s, in_app_context(self._app, call, name)))

    def start_when_ready(self) -> None:
        """Start now, or as soon as the database is usable. Until then the worker is not ready and refuses streams.

        Exiting instead would stop the whole server: gunicorn ends if a worker cannot boot.
        """
        obstacle = self._try_start()
        if obstacle is None:
            return
        kind, text = obstacle
        log.error("this worker waits for its database: %s", text)
        threading.Thread(target=self._wait_for_database, args=(kind,), name="wait-for-database", daemon=True).start()

    def start(self) -> None:
        """Raises the driver's error, and has started nothing then, if the database is unavailable."""
        if self.started:
            return
        self.tail.open()
        self._start_parts()
        self.started = True

    def stop(self) -> None:
        self._stopping.set()
        if not self.started:
            return
        committed.disconnect(self._wake_tail)
        for part in reversed(self._parts):
            part.stop()
        self.started = False

    def _start_parts(self) -> None:
        for part in self._parts:
            part.start()
        committed.connect(self._wake_tail)

    def is_degraded(self) -> bool:
        """True while the log cannot be read."""
        return self.tail.degraded

    def _try_start(self) -> tuple[str, str] | None:
        """Start, or return why this worker cannot serve yet: as a kind, and as a sentence that says what to do."""
        try:
            with self._app.app_context(), read() as session:
                obstacle = schema_version.find_schema_problem(session)
            if obstacle is None:
                self.start()
        except (SQLAlchemyError, DatabaseUnavailable) as error:
            told = str(getattr(error, "orig", None) or error).strip().splitlines()
            where = "BEACON_DATABASE_URL" if not self.settings.is_sqlite else "BEACON_INSTANCE_DIR"
            reason = told[0] if told else repr(error)
            text = f"the database is unavailable ({reason}); check that it runs and that {where} is right"
            return "unavailable", text
        return obstacle

    def _wait_for_database(self, logged: str) -> None:
        """`logged`: the kind of the obstacle in the log. The driver's message may differ each time."""
        while not self._stopping.wait(START_RETRY_S):
            self._recover()
            obstacle = self._try_start()
            if obstacle is None:
                log.warning("the database is usable, this worker started")
                return
            kind, text = obstacle
            if kind != logged:
                log.error("this worker waits for its database: %s", text)
                logged = kind

    def _make_notifier(self) -> wakeup.CommitNotifier:
        if self._wakeups is not None:
            return wakeup.LocalNotifier()
        return wakeup.build_notifier(self.settings.database_url, self._check_every_s)

    def _wake_tail(self, _sender: object, has_events: bool) -> None:
        if not has_events:
            return
        self.tail.wake()
        if self._wakeups is not None:
            self._wakeups.announce()

    @abstractmethod
    def _read_after(self, cursor: int) -> EventPage:
        """Read what the tail's listeners need of the log after `cursor`."""

    def _recover(self) -> None:
        with self._app.app_context():
            distrust_connections(db.engine)


class StreamServices(BackgroundServices):
    """The background services of a web worker: those of every process, and the streams."""

    def __init__(self, app: Flask, settings: Settings, hub: Hub) -> None:
        super().__init__(app, settings)
        self.hub = hub
        self.engine = StreamEngine(hub, settings, self._read_log, self.is_degraded)
        self.shared_counters = SharedCounters(settings.redis_url) if settings.redis_url else None
        self.admission = Admission(settings, PresenceStore(app, settings), self.shared_counters)
        self._parts[:0] = [self.admission, self.engine]
        if self.shared_counters is not None:
            self.add_first(self.shared_counters)
        self.add(Periodic(MARK_EVERY_S, self._continuity.record_head))
        self.log_measure = LogSizeMeter()
        self.add_task(MEASURE_LOG_EVERY_S, "log size", self._measure_log)

    def stop(self) -> None:
        was_started = self.started
        super().stop()
        try:
            if was_started:
                self._continuity.record_head()
        except (SQLAlchemyError, DatabaseUnavailable) as error:
            log.warning("cannot write the log's high-water mark at shutdown, the database is unavailable: %s", error)

    def drain(self) -> None:
        """Shut down gracefully within `BEACON_DRAIN_S`: readiness goes off, then streams are closed one by one."""
        if self.started:
            self.engine.drain()

    def _start_parts(self) -> None:
        super()._start_parts()
        self._prefill()

    def _read_after(self, cursor: int) -> EventPage:
        with self._app.app_context(), read() as session:
            page = log_read.read_after(session, cursor, TAIL_PAGE_EVENTS)
            self._continuity.check(session, cursor, page)
            return page

    def _measure_log(self) -> None:
        with read() as session:
            self.log_measure.measure(session)

    def _read_log(self, cursor: int, audiences: Collection[str]) -> EventPage:
        """Read the log for the replay, holding a connection only for as long as the read takes."""
        with self._app.app_context(), read() as session:
            page = log_read.read_visible(session, cursor, audiences, REPLAY_PAGE_EVENTS)
            bounds = log_read.bounds(session)  # read last, because the floor may have risen during the replay
            if cursor < bounds.floor or bounds.is_lost(cursor):
                raise log_read.CursorPruned
            return page

    def _prefill(self) -> None:
        """Load the newest events into memory for clients that reconnect after a restart; without, they read the log."""
        try:
            with self._app.app_context(), read() as session:
                floor = max(log_read.floor(session), self.hub.cursor - PREFILL_EVENTS)
                page = log_read.read_after(session, floor, PREFILL_EVENTS)
        except (SQLAlchemyError, DatabaseUnavailable) as error:
            log.warning("cannot load the newest events at the start, the database is unavailable: %s", error)
            return
        self.hub.ring.prefill(page.events, floor, page.cursor)


class Periodic:
    """Runs a task periodically. Failures are logged (throttled) and the task keeps running."""

    def __init__(self, interval_s: float, call: Callable[[], object]) -> None:
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
            except Exception as error:  # noqa: BLE001 -- whatever failed, it is logged and the task keeps running
                self._failure_log.record_failure(error)
            else:
                self._failure_log.record_success()


def get_background() -> StreamServices:
    """Return the background services of the current application."""
    return components().background

"""Notifies the tail of commits. A lost notification costs at most a second: the tail also reads by itself."""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote

from gevent.monkey import get_original

from app.infra.concurrency import NativeThreads

CHECK_INTERVAL_S = 0.02
# Shorter interval for a while after events: more are likely to follow.
BUSY_CHECK_INTERVAL_S = 0.01
BUSY_PERIOD_S = 1.0
CHANNEL = "beacon_event"


class CommitNotifier(Protocol):
    """Waits for commits. Every method may raise the driver's errors while the database is unavailable."""

    def wait(self, timeout_s: float, stopping: Callable[[], bool]) -> None:
        """Return when there may be new events, after `timeout_s` at the latest, or when `stopping()` is true."""

    def wake(self) -> None:
        """End the wait now, because this process has written. May be called from any thread."""

    def expect_more(self) -> None:
        """Check more often for a while, because events have just arrived."""

    def close(self) -> None: ...


class SqliteNotifier:
    """Polls `PRAGMA data_version`, a few microseconds per call, on a connection that writes nothing itself.

    Under gevent it does so on a native thread: a turn of the event loop for each call would cost four times as much.
    """

    def __init__(self, path: str, check_interval_s: float = CHECK_INTERVAL_S) -> None:
        self._path, self._check_interval_s = path, check_interval_s
        self._identity = _file_identity(path)
        # One thread at a time uses it, but not always the same.
        self._connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, check_same_thread=False)
        self._version = -1
        self._busy_until = 0.0
        self._threads = NativeThreads(1)
        # Held but for a moment, by nobody in particular: `wake` releases it. A lock of Python's own under gevent too.
        self._asleep = get_original("_thread", "allocate_lock")()
        self._asleep.acquire()

    def wait(self, timeout_s: float, stopping: Callable[[], bool]) -> None:
        if _file_identity(self._path) != self._identity:
            # Open connections would keep reading and writing the file that was moved away.
            raise sqlite3.OperationalError(f"the database file {self._path} was replaced")
        self._threads.run(self._wait, timeout_s, stopping)

    def _wait(self, timeout_s: float, stopping: Callable[[], bool]) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and not stopping():
            if self._has_changed():
                return
            is_busy = time.monotonic() < self._busy_until
            if self._asleep.acquire(timeout=BUSY_CHECK_INTERVAL_S if is_busy else self._check_interval_s):
                self._has_changed()  # the read that follows covers this change too
                return

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is awake already
            self._asleep.release()

    def expect_more(self) -> None:
        self._busy_until = time.monotonic() + BUSY_PERIOD_S

    def _has_changed(self) -> bool:
        """True if another connection has written since the last call."""
        before = self._version
        self._version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return self._version != before

    def close(self) -> None:
        self._threads.close()
        self._connection.close()


class PostgresNotifier:
    """Uses `LISTEN` on its own connection. A trigger notifies for every insert, including manual ones."""

    def __init__(self, conninfo: str) -> None:
        from app.infra import postgres  # local: psycopg would add a tenth to the imports of a server on SQLite

        self._connection = postgres.connect(conninfo, autocommit=True)
        self._connection.execute(f"LISTEN {CHANNEL}")

    def wait(self, timeout_s: float, stopping: Callable[[], bool]) -> None:
        if not stopping():
            for _ in self._connection.notifies(timeout=timeout_s, stop_after=1):
                return

    def wake(self) -> None:
        """Do nothing: the database notifies this process as well."""

    def expect_more(self) -> None:
        """Do nothing: the database notifies at once."""

    def close(self) -> None:
        self._connection.close()


class LocalNotifier:
    """Ends a wait only when this process calls `wake`. It replaces the database's own notifications."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def wait(self, timeout_s: float, stopping: Callable[[], bool]) -> None:
        if not stopping():
            self._woken.wait(timeout_s)
            self._woken.clear()

    def wake(self) -> None:
        self._woken.set()

    def expect_more(self) -> None:
        """Do nothing: every commit wakes it at once."""

    def close(self) -> None:
        self.wake()


def build_notifier(url: str, check_interval_s: float = CHECK_INTERVAL_S) -> CommitNotifier:
    """Build the notifier for a database URL as in `Settings.database_url`."""
    if url.startswith("sqlite:///"):
        return SqliteNotifier(url.removeprefix("sqlite:///"), check_interval_s)
    return PostgresNotifier(url)


def _file_identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 -- called constantly, and a Path would be built for nothing
    except OSError as error:
        raise sqlite3.OperationalError(f"the database file {path} is gone: {error.strerror}") from error
    return found.st_dev, found.st_ino

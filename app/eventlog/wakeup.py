"""Hints that something was written. A lost hint costs at most a second: the tail looks by itself then."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote

CHECK_INTERVAL_S = 0.02
# Where events have just come, more are likely to come.
BUSY_CHECK_INTERVAL_S = 0.01
BUSY_PERIOD_S = 1.0
CHANNEL = "beacon_event"


class CommitNotifier(Protocol):
    """Waits for a hint. Every method may raise the driver's errors: the database is then away."""

    def wait(self, timeout_s: float, stopping: Callable[[], bool]) -> None:
        """Return when there may be something new, at the latest after `timeout_s` or when `stopping()`."""

    def wake(self) -> None:
        """End the wait now: this process has written itself. May be called from any thread."""

    def expect_more(self) -> None:
        """Events have come: look more often for a while."""

    def close(self) -> None: ...


class SqliteNotifier:
    """Asks `PRAGMA data_version`, a few microseconds a call, on a connection that writes nothing itself."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = _file_identity(path)
        # Greenlets of one thread share it in turn; the check would forbid the tests' real threads.
        self._connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, check_same_thread=False)
        self._version = -1
        self._busy_until = 0.0
        self._poked = threading.Event()

    def wait(self, timeout_s: float, stopping: Callable[[], bool]) -> None:
        if _file_identity(self._path) != self._identity:
            # Open connections would go on reading and writing the file that was moved away.
            raise sqlite3.OperationalError(f"the database file {self._path} was replaced")
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and not stopping():
            if self._has_changed():
                return
            is_busy = time.monotonic() < self._busy_until
            if self._poked.wait(BUSY_CHECK_INTERVAL_S if is_busy else CHECK_INTERVAL_S):
                self._poked.clear()
                self._has_changed()  # the look that follows is this change's too
                return

    def wake(self) -> None:
        self._poked.set()

    def expect_more(self) -> None:
        self._busy_until = time.monotonic() + BUSY_PERIOD_S

    def _has_changed(self) -> bool:
        """Whether another connection has written since the last time."""
        before = self._version
        self._version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return self._version != before

    def close(self) -> None:
        self._connection.close()


class PostgresNotifier:
    """`LISTEN` on a connection of its own; a trigger notifies for every insert, also for those by hand."""

    def __init__(self, conninfo: str) -> None:
        from app.infra import postgres  # its driver is a tenth of all that a server on SQLite would import

        self._connection = postgres.connect(conninfo, autocommit=True)
        self._connection.execute(f"LISTEN {CHANNEL}")

    def wait(self, timeout_s: float, stopping: Callable[[], bool]) -> None:
        if not stopping():
            for _ in self._connection.notifies(timeout=timeout_s, stop_after=1):
                return

    def wake(self) -> None:
        """Nothing to do: the database notifies this process as well."""

    def expect_more(self) -> None:
        """Nothing to do: the database says when."""

    def close(self) -> None:
        self._connection.close()


def build_notifier(url: str) -> CommitNotifier:
    """The fitting kind for a database address as in `Settings.database_url`."""
    if url.startswith("sqlite:///"):
        return SqliteNotifier(url.removeprefix("sqlite:///"))
    return PostgresNotifier(url.replace("postgresql+psycopg://", "postgresql://", 1))


def _file_identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 -- called all the time, and a Path would be built for nothing
    except OSError as error:
        raise sqlite3.OperationalError(f"the database file {path} is gone: {error.strerror}") from error
    return found.st_dev, found.st_ino

"""Checkpoints SQLite's write-ahead log (WAL) every few seconds, and truncates its file if it has grown.

A reader that does not end its transaction lets it grow without limit. Nothing can prevent that, so it is logged.
"""

import logging
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import quote

from app.infra import lock_holders
from app.infra.concurrency import run_in_thread

log = logging.getLogger(__name__)

# A file up to this size is reused; a larger one is truncated once nobody reads it.
TRUNCATE_ABOVE_BYTES = 4 * 1024 * 1024
# If both are exceeded, a reader blocks the checkpoint.
STUCK_AFTER_S, STUCK_ABOVE_BYTES = 60.0, 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class WalState:
    size: int
    """Size of the file in bytes."""
    age_s: float
    """Seconds since all of it had been moved into the database."""
    pending: int = 0
    """Pages not yet moved into the database."""

    @property
    def is_stuck(self) -> bool:
        return self.age_s >= STUCK_AFTER_S and self.size >= STUCK_ABOVE_BYTES


class WalMonitor:
    """Checkpoints and watches the WAL of one database file, for one worker."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._complete_at = time.monotonic()
        self._is_logged = False
        self.state = WalState(0, 0.0)

    def checkpoint(self) -> None:
        """Run a checkpoint. Never waits for readers or writers."""
        pending = run_in_thread(run_checkpoint, self._path)
        now = time.monotonic()
        if pending == 0:
            self._complete_at = now
        self.state = WalState(wal_size(self._path), now - self._complete_at if pending else 0.0, pending)
        self._log_change()

    def _log_change(self) -> None:
        if self.state.is_stuck and not self._is_logged:
            log.warning(
                "the database's write-ahead log cannot be checkpointed: %s", describe_stuck(self._path, self.state)
            )
        elif self._is_logged and not self.state.is_stuck:
            log.warning("the database's write-ahead log is checkpointed again, size=%s bytes", self.state.size)
        self._is_logged = self.state.is_stuck


def wal_size(path: str) -> int:
    try:
        return os.stat(f"{path}-wal").st_size  # noqa: PTH116 -- the path is built as text here
    except OSError:
        return 0


def run_checkpoint(path: str) -> int:
    """Move what can be moved, and truncate the file if everything was; returns the number of pages left."""
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=0)) as connection:
        _, pages, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        pending = max(0, int(pages) - int(moved))
        if pending == 0 and wal_size(path) > TRUNCATE_ABOVE_BYTES:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # without a busy handler: it never waits
        return pending


def describe_stuck(path: str, state: WalState) -> str:
    who = lock_holders.describe_holders(lock_holders.find_readers(path))
    return f"{state.size} bytes, {state.pending} pages have waited {state.age_s:.0f} s for a reader to end: {who}"

"""SQLite's write-ahead log: moved into the database file every few seconds, and cut where it had grown.

A reader that does not end its transaction keeps it growing for as long as it wants. Nothing prevents that: it is told.
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

# A file of this size is used again and again; a larger one is cut once nobody reads it.
TRUNCATE_ABOVE_BYTES = 4 * 1024 * 1024
# Above both of these something is wrong with a reader.
STUCK_AFTER_S, STUCK_ABOVE_BYTES = 60.0, 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class WalState:
    size: int
    """Bytes of the file."""
    age_s: float
    """How long ago all of it had been moved into the database."""
    pending: int = 0
    """Pages that wait to be."""

    @property
    def is_stuck(self) -> bool:
        return self.age_s >= STUCK_AFTER_S and self.size >= STUCK_ABOVE_BYTES


class WalMonitor:
    """Of one database file, as one worker sees it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._whole_at = time.monotonic()
        self._is_told = False
        self.state = WalState(0, 0.0)

    def checkpoint(self) -> None:
        """Never waits for readers or writers."""
        pending = run_in_thread(run_checkpoint, self._path)
        now = time.monotonic()
        if pending == 0:
            self._whole_at = now
        self.state = WalState(wal_size(self._path), now - self._whole_at if pending else 0.0, pending)
        self._tell()

    def _tell(self) -> None:
        if self.state.is_stuck and not self._is_told:
            log.warning(
                "the write-ahead log of the database cannot be moved: %s", describe_stuck(self._path, self.state)
            )
        elif self._is_told and not self.state.is_stuck:
            log.warning("the write-ahead log of the database moves again, it has %s bytes", self.state.size)
        self._is_told = self.state.is_stuck


def wal_size(path: str) -> int:
    try:
        return os.stat(f"{path}-wal").st_size  # noqa: PTH116 -- a text that is built here
    except OSError:
        return 0


def run_checkpoint(path: str) -> int:
    """Move what can be moved, and cut the file where all was; how many pages are left."""
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=0)) as connection:
        _, pages, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        pending = max(0, int(pages) - int(moved))
        if pending == 0 and wal_size(path) > TRUNCATE_ABOVE_BYTES:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # without a busy handler: now, or not at all
        return pending


def describe_stuck(path: str, state: WalState) -> str:
    who = lock_holders.describe_holders(lock_holders.find_readers(path))
    return f"{state.size} bytes, {state.pending} pages wait since {state.age_s:.0f} s for a reader to end: {who}"

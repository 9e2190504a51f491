"""The last two minutes of the database, kept in memory, for going back in time."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from demo.store import Copy, Store

INTERVAL_S = 10
KEPT = 12


@dataclass(frozen=True, slots=True)
class Snapshot:
    taken_at: float  # of the monotonic clock: no rewind touches it
    copy: Copy


class Snapshots:
    def __init__(self, store: Store, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: deque[Snapshot] = deque()

    def take(self) -> None:
        with self._lock:
            self._kept.append(Snapshot(self._monotonic(), self._store.copy()))
            if len(self._kept) > KEPT:
                self._kept.popleft().copy.database.close()

    def close(self) -> None:
        with self._lock:
            while self._kept:
                self._kept.pop().copy.database.close()

    def rewind(self, seconds: float) -> float:
        """Go back to the newest snapshot at least `seconds` old, or the oldest there is; says how far."""
        with self._lock:
            now = self._monotonic()
            old_enough = (old for old in reversed(self._kept) if now - old.taken_at >= seconds)
            chosen = next(old_enough, self._kept[0])
            self._store.restore(chosen.copy)
            return now - chosen.taken_at

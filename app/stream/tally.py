"""One worker's open streams by user, and which of these numbers the database does not know yet."""

import threading
from collections import Counter
from typing import Literal

from app.stream.presence import Update

RENEW_EVERY_S = 1.0
SWEEP_EVERY_S = 60.0

# Instead of the written count where a write failed: it may have been committed all the same.
_UNSURE = -1

Refusal = Literal["full", "user-cap"]


class Tally:
    """Exact, because deciding and counting are one step. Any thread, greenlet or callback may call every method."""

    def __init__(self) -> None:
        # Nothing under it waits, so an event loop's callback never finds it taken.
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._written: dict[str, int] = {}
        self._changed: set[str] = set()
        self._renew_at = self._sweep_at = 0.0
        self.total = 0

    def of(self, user: str) -> int:
        return self._counts.get(user, 0)

    @property
    def is_announced(self) -> bool:
        """Whether the database may hold rows of this worker."""
        return bool(self._written)

    def take(self, user: str, most: int, most_of_user: int) -> Refusal | None:
        """Count one more stream of `user`, or say which of the two bounds is reached."""
        with self._lock:
            if self.total >= most:
                return "full"
            if self.of(user) >= most_of_user:
                return "user-cap"
            self._add(user, 1)
        return None

    def leave(self, user: str) -> None:
        """Count one stream less; once for each that was taken."""
        with self._lock:
            self._add(user, -1)

    def due(self, now: float) -> Update | None:
        """What is to be written at `now` (monotonic seconds); None where there is nothing, above all without streams.

        `kept` or `lost` says afterwards what became of it.
        """
        with self._lock:
            wanted = {user: self.of(user) for user in self._changed}
            self._changed.clear()
            changes = {user: count for user, count in wanted.items() if count != self._written.get(user, 0)}
            renewing = bool(self._counts) and now >= self._renew_at
            if not changes and not renewing:
                return None
            return Update(changes, dict(self._counts) if renewing else None, now >= self._sweep_at)

    def kept(self, update: Update, now: float) -> None:
        """`update`, asked for at `now`, is in the database."""
        with self._lock:
            self._written.update(update.changes)
            for user in [user for user, count in update.changes.items() if not count]:
                del self._written[user]
            if update.renew is not None:
                self._renew_at = now + RENEW_EVERY_S
            if update.sweep:
                self._sweep_at = now + SWEEP_EVERY_S

    def lost(self, update: Update) -> None:
        """`update` may be in the database or not: all of it is due again."""
        with self._lock:
            self._changed.update(update.changes)
            self._written.update(dict.fromkeys(update.changes, _UNSURE))

    def _add(self, user: str, difference: int) -> None:
        self._counts[user] += difference
        if not self._counts[user]:
            del self._counts[user]
        self._changed.add(user)
        self.total += difference

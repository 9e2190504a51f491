"""One worker's open streams by user, and which of these numbers the database does not know yet."""

import threading
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from app.stream.presence import PresenceUpdate, SlotClaim

RENEW_EVERY_S = 1.0
SWEEP_EVERY_S = 60.0

# Instead of the written count where a write failed: it may have been committed all the same.
_UNKNOWN_COUNT = -1
_NO_GRANTS: Mapping[str, int] = MappingProxyType({})

SlotRefusal = Literal["full", "user-cap"]


class SlotRequest:
    """One stream that the database is to decide about. It is counted when `answer` says that it is granted."""

    __slots__ = ("answer", "user")

    def __init__(self, user: str) -> None:
        self.user = user
        self.answer: SlotRefusal | Literal["granted", "unknown"] | None = None


class StreamCounter:
    """Exact, because deciding and counting are one step. Any thread, greenlet or callback may call every method.

    One `Update` at a time: between `due` and its `kept` or `lost` nobody asks for the next.
    """

    def __init__(self) -> None:
        # Nothing under it waits, so an event loop's callback never finds it taken.
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._written: dict[str, int] = {}
        self._changed: set[str] = set()
        self._requested: list[SlotRequest] = []
        self._deciding: list[SlotRequest] = []
        self._renew_at = self._sweep_at = 0.0
        self.total = 0

    def count_for(self, user: str) -> int:
        return self._counts.get(user, 0)

    @property
    def has_written_rows(self) -> bool:
        """Whether the database may hold rows of this worker."""
        return bool(self._written)

    def acquire(self, user: str, most: int, most_of_user: int) -> SlotRefusal | None:
        """Count one more stream of `user`, or say which of the two bounds is reached."""
        with self._lock:
            refusal = self._refusal(user, most, most_of_user)
            if refusal is None:
                self._add(user, 1)
        return refusal

    def request(self, user: str, most: int, most_of_user: int) -> SlotRequest:
        """As `take`, but where both bounds allow it, the next update claims the stream and `kept` or `lost` answers."""
        ask = SlotRequest(user)
        with self._lock:
            ask.answer = self._refusal(user, most, most_of_user)
            if ask.answer is None:
                self._requested.append(ask)
        return ask

    def release(self, user: str) -> None:
        """Count one stream less; once for each that was taken or granted."""
        with self._lock:
            self._add(user, -1)

    def next_update(self, now: float) -> PresenceUpdate | None:
        """What is to be written at `now` (monotonic seconds); None where there is nothing, above all without streams.

        `kept` or `lost` says afterwards what became of it.
        """
        with self._lock:
            wanted = {user: self.count_for(user) for user in self._changed}
            self._changed.clear()
            self._deciding, self._requested = self._requested, []
            claims = Counter(ask.user for ask in self._deciding)
            changes = {user: count for user, count in wanted.items() if count != self._written.get(user, 0)}
            renewing = bool(self._counts) and now >= self._renew_at
            if not changes and not renewing and not claims:
                return None
            return PresenceUpdate(
                changes,
                dict(self._counts) if renewing else None,
                now >= self._sweep_at,
                {user: SlotClaim(self.count_for(user), wants) for user, wants in claims.items()},
            )

    def confirm(self, update: PresenceUpdate, now: float, granted: Mapping[str, int] = _NO_GRANTS) -> None:
        """`update`, asked for at `now`, is in the database, and with it as many new streams as are `granted`."""
        with self._lock:
            self._written.update(update.changes)
            self._written.update({user: update.claims[user].has + more for user, more in granted.items() if more})
            for user in [user for user in update.changes if not self._written[user]]:
                del self._written[user]
            self._answer(granted)
            if update.renew is not None:
                self._renew_at = now + RENEW_EVERY_S
            if update.sweep:
                self._sweep_at = now + SWEEP_EVERY_S

    def roll_back(self, update: PresenceUpdate) -> None:
        """`update` may be in the database or not: all of it is due again, and nobody knows what it would grant."""
        with self._lock:
            unsure = {*update.changes, *update.claims}
            self._changed.update(unsure)
            self._written.update(dict.fromkeys(unsure, _UNKNOWN_COUNT))
            # Also those who came meanwhile, or each would wait for the same failure, one after the other.
            for ask in (*self._deciding, *self._requested):
                ask.answer = "unknown"
            self._deciding, self._requested = [], []

    def _answer(self, granted: Mapping[str, int]) -> None:
        # Never above the row: a stream that was taken meanwhile has used up some of what was granted.
        left = {user: min(more, self._written.get(user, 0) - self.count_for(user)) for user, more in granted.items()}
        for ask in self._deciding:
            if left.get(ask.user, 0) > 0:
                left[ask.user] -= 1
                self._add(ask.user, 1)
                ask.answer = "granted"
            else:
                ask.answer = "user-cap"
        self._deciding = []

    def _refusal(self, user: str, most: int, most_of_user: int) -> SlotRefusal | None:
        if self.total + len(self._requested) + len(self._deciding) >= most:
            return "full"
        return "user-cap" if self.count_for(user) >= most_of_user else None

    def _add(self, user: str, difference: int) -> None:
        self._counts[user] += difference
        if not self._counts[user]:
            del self._counts[user]
        self._changed.add(user)
        self.total += difference

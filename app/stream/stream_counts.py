"""Counts one worker's open streams by user, and knows which counts are not in the database yet."""

import threading
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from app.stream.presence import PresenceUpdate, SlotClaim

RENEW_EVERY_S = 1.0
SWEEP_EVERY_S = 60.0

# Replaces the written count if a write failed, because it may have been committed all the same.
_UNKNOWN_COUNT = -1
_NO_GRANTS: Mapping[str, int] = MappingProxyType({})

SlotRefusal = Literal["full", "user-cap"]


class SlotRequest:
    """A stream that the database is to decide about. It is counted if `answer` becomes `granted`."""

    __slots__ = ("answer", "user")

    def __init__(self, user: str) -> None:
        self.user = user
        self.answer: SlotRefusal | Literal["granted", "unknown"] | None = None


class StreamCounter:
    """Exact, because deciding and counting are one step. Any thread, greenlet or callback may call every method.

    One `PresenceUpdate` at a time: `next_update` must be followed by `confirm` or `roll_back` before the next one.
    """

    def __init__(self) -> None:
        # Nothing waits while holding it, so an event loop's callback never finds it locked.
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
        """True if the database may hold rows of this worker."""
        return bool(self._written)

    def acquire(self, user: str, most: int, most_of_user: int) -> SlotRefusal | None:
        """Count one more stream of `user`, or return which of the two limits is reached."""
        with self._lock:
            refusal = self._find_refusal(user, most, most_of_user)
            if refusal is None:
                self._change_count(user, 1)
        return refusal

    def request(self, user: str, most: int, most_of_user: int) -> SlotRequest:
        """Like `acquire`, but if both limits allow it, the next update claims the stream, and `confirm` or `roll_back`
        sets the answer."""
        ask = SlotRequest(user)
        with self._lock:
            ask.answer = self._find_refusal(user, most, most_of_user)
            if ask.answer is None:
                self._requested.append(ask)
        return ask

    def release(self, user: str) -> None:
        """Count one stream less. Call it once for each stream that was acquired or granted."""
        with self._lock:
            self._change_count(user, -1)

    def next_update(self, now: float) -> PresenceUpdate | None:
        """Return what to write at `now` (monotonic seconds); None if there is nothing, above all without streams.

        Call `confirm` or `roll_back` afterwards.
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
        """Record that `update`, requested at `now`, was committed together with the `granted` new streams."""
        with self._lock:
            self._written.update(update.changes)
            self._written.update({user: update.claims[user].has + more for user, more in granted.items() if more})
            for user in [user for user in update.changes if not self._written[user]]:
                del self._written[user]
            self._answer_requests(granted)
            if update.renew is not None:
                self._renew_at = now + RENEW_EVERY_S
            if update.sweep:
                self._sweep_at = now + SWEEP_EVERY_S

    def roll_back(self, update: PresenceUpdate) -> None:
        """Record that `update` may or may not be committed: all of it is written again, its claims are unknown."""
        with self._lock:
            unsure = {*update.changes, *update.claims}
            self._changed.update(unsure)
            self._written.update(dict.fromkeys(unsure, _UNKNOWN_COUNT))
            # Also answer requests that arrived since, or each of them would wait for the same failure in turn.
            for ask in (*self._deciding, *self._requested):
                ask.answer = "unknown"
            self._deciding, self._requested = [], []

    def _answer_requests(self, granted: Mapping[str, int]) -> None:
        # Never exceed the row: a stream acquired since then has used up part of what was granted.
        left = {user: min(more, self._written.get(user, 0) - self.count_for(user)) for user, more in granted.items()}
        for ask in self._deciding:
            if left.get(ask.user, 0) > 0:
                left[ask.user] -= 1
                self._change_count(ask.user, 1)
                ask.answer = "granted"
            else:
                ask.answer = "user-cap"
        self._deciding = []

    def _find_refusal(self, user: str, most: int, most_of_user: int) -> SlotRefusal | None:
        if self.total + len(self._requested) + len(self._deciding) >= most:
            return "full"
        return "user-cap" if self.count_for(user) >= most_of_user else None

    def _change_count(self, user: str, difference: int) -> None:
        self._counts[user] += difference
        if not self._counts[user]:
            del self._counts[user]
        self._changed.add(user)
        self.total += difference

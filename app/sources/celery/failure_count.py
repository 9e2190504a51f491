"""Counts Celery's failed tasks from their results, a part in each poll.

Celery keeps no list of its results. So `SCAN` passes over all keys again and again, and the first bytes of each new
result are read. The count comes from the latest complete pass and is as of its end. If it takes more than one poll, the
count is marked as lagging.
"""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import redis

from app.infra.concurrency import TimeSlice
from app.sources.celery.results import UNREADABLE, Results

# For each poll: SCAN calls, keys that the server checks in each (not only Celery keys), and results that are read.
SCANS_PER_POLL, KEYS_PER_SCAN = 10, 1_000
MAX_RESULTS_READ = 2_000
# Limit on results that are remembered between passes, so that each is read once.
MAX_REMEMBERED_RESULTS = 200_000
COUNTING = "its results are being counted"
TOO_MANY = f"it has more than {MAX_REMEMBERED_RESULTS:,} results, which Beacon does not count"
# Celery's final states. A failed task may be delivered again and succeed.
_FOR_GOOD = frozenset({"SUCCESS", "REVOKED"})


class FailureCount(NamedTuple):
    """The number of failed tasks; None if unknown, with the reason in `why`. `as_of`: when it was counted. `lags`: the
    count took more than one poll. `keys`: the results of these tasks."""

    number: int | None
    why: str = COUNTING
    as_of: datetime | None = None
    lags: bool = False
    keys: frozenset[bytes] = frozenset()


class FailureCounter:
    """Counts failures and remembers which results it has read. For one thread at a time."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._cursor = 0
        self._waiting: list[bytes] = []
        self._pass: dict[bytes, str] = {}
        self._before: dict[bytes, str] = {}
        self._counted = FailureCount(None)
        self._looks = 0

    def count_next_part(self, client: redis.Redis) -> FailureCount:
        """Read one more part of the results and return the latest count."""
        pace = TimeSlice()
        left = MAX_RESULTS_READ
        self._looks += 1
        for _ in range(SCANS_PER_POLL):
            left -= self._read_waiting(client, left)
            if self._waiting:
                break
            found: Any = client.scan(self._cursor, match=self._results.pattern, count=KEYS_PER_SCAN)
            cursor, keys = found
            self._waiting = [key for key in map(bytes, keys) if key not in self._pass]
            left -= self._read_waiting(client, left)
            pace()
            if len(self._pass) > MAX_REMEMBERED_RESULTS:
                self._restart_pass()
                self._counted = FailureCount(None, TOO_MANY)
                break
            self._cursor = int(cursor)
            if self._cursor == 0 and not self._waiting:
                self._finish_pass()
                break
        return self._counted

    def _read_waiting(self, client: redis.Redis, at_most: int) -> int:
        """Read results of waiting keys. Returns how many were read."""
        known, to_read = self._before, list[bytes]()
        later: list[bytes] = []
        for key in self._waiting:
            if known.get(key) in _FOR_GOOD:
                self._pass[key] = known[key]
            elif len(to_read) < at_most:
                to_read.append(key)
            else:
                later.append(key)
        # A result that has expired since has no state and does not count.
        self._pass.update(dict.fromkeys(to_read, UNREADABLE) | self._results.read_states_by_key(client, to_read))
        self._waiting = later
        return len(to_read)

    def _finish_pass(self) -> None:
        failed = frozenset(key for key, state in self._pass.items() if state == "FAILURE")
        self._counted = FailureCount(len(failed), "", datetime.now(UTC), self._looks > 1, failed)
        self._before = self._pass
        self._restart_pass()

    def _restart_pass(self) -> None:
        self._pass, self._waiting, self._cursor, self._looks = {}, [], 0, 0

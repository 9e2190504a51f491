"""How many of Celery's tasks failed, counted from the results themselves: a part of them at each look.

Celery keeps no list of its results, so their keys are gone through from the first to the last and then again, with
`SCAN`, and of those that are new the first bytes are read. What counts is the newest pass that came to its end, and the
number is as of then. One that is behind says so and nothing else.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from app.infra.concurrency import TimeSlice
from app.sources.celery.results import UNREADABLE, Results

if TYPE_CHECKING:
    import redis

# In one look: keys that the server goes through, whosever they are, and results that are read.
SCANS, KEYS_A_SCAN = 10, 1_000
MAX_READ = 2_000
# Results that are remembered between two passes, so that each is read once.
MAX_RESULTS = 200_000
COUNTING = "its results are being counted"
TOO_MANY = f"it has more than {MAX_RESULTS:,} results, which Beacon does not count"
# Celery's words for an end that stays one. A task that failed may be delivered again, and succeed.
_FOR_GOOD = frozenset({"SUCCESS", "REVOKED"})


class Counted(NamedTuple):
    """`number` is None where it is not known; `why` says so. `as_of`: of when the number is, which `lags` behind this
    look where one look was not enough."""

    number: int | None
    why: str = COUNTING
    as_of: datetime | None = None
    lags: bool = False


class Failures:
    """Remembers which results it has read. For one thread at a time."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._cursor = 0
        self._waiting: list[bytes] = []
        self._pass: dict[bytes, str] = {}
        self._before: dict[bytes, str] = {}
        self._counted = Counted(None)
        self._looks = 0

    def follow(self, client: "redis.Redis") -> Counted:
        """One more part of them; what is known of all."""
        pace = TimeSlice()
        left = MAX_READ
        self._looks += 1
        for _ in range(SCANS):
            left -= self._read(client, left)
            if self._waiting:
                break
            found: Any = client.scan(self._cursor, match=self._results.pattern, count=KEYS_A_SCAN)
            cursor, keys = found
            self._waiting = [key for key in map(bytes, keys) if key not in self._pass]
            left -= self._read(client, left)
            pace()
            if len(self._pass) > MAX_RESULTS:
                self._begin_again()
                self._counted = Counted(None, TOO_MANY)
                break
            self._cursor = int(cursor)
            if self._cursor == 0 and not self._waiting:
                self._end()
                break
        return self._counted

    def _read(self, client: "redis.Redis", at_most: int) -> int:
        """Of the keys that wait; how many results were asked for."""
        known, asked = self._before, list[bytes]()
        later: list[bytes] = []
        for key in self._waiting:
            if known.get(key) in _FOR_GOOD:
                self._pass[key] = known[key]
            elif len(asked) < at_most:
                asked.append(key)
            else:
                later.append(key)
        # One that has expired since has no state, and is none.
        self._pass.update(dict.fromkeys(asked, UNREADABLE) | self._results.states_at(client, asked))
        self._waiting = later
        return len(asked)

    def _end(self) -> None:
        failed = sum(state == "FAILURE" for state in self._pass.values())
        self._counted = Counted(failed, "", datetime.now(UTC), self._looks > 1)
        self._before = self._pass
        self._begin_again()

    def _begin_again(self) -> None:
        self._pass, self._waiting, self._cursor, self._looks = {}, [], 0, 0

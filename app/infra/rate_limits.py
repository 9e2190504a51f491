"""Rate limits per user, counted in memory by each worker separately."""

import threading

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.components import components
from app.config import Settings
from app.infra.problems import Problem, build_retry_after


class UserRateLimit:
    """At most `per_second` hits of one user within any second. `what` and `setting` appear in the error text.

    Memory is bounded by the users of the last two seconds, with two counters each, which expire. (The moving window of
    `limits` would keep a list for every name for ever; its fixed window locks users out when the clock is set back.)
    """

    def __init__(self, per_second: int, what: str = "requests", setting: str = "") -> None:
        self.per_second, self._what, self._setting = per_second, what, setting
        self._item = RateLimitItemPerSecond(per_second)
        self._lock = threading.Lock()
        self._limiter: SlidingWindowCounterRateLimiter | None = None

    def hit(self, user: str) -> None:
        """Count one hit. Above the limit it raises `Problem` 429 with reason `rate` and does not count the hit."""
        if not self._get_limiter().hit(self._item, user):
            raise self._build_problem()

    def _get_limiter(self) -> SlidingWindowCounterRateLimiter:
        """Create the limiter at the first hit: its storage starts a timer, and building an app must start nothing."""
        with self._lock:
            if self._limiter is None:
                self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
            return self._limiter

    def _build_problem(self) -> Problem:
        by = f" ({self._setting})" if self._setting else ""
        detail = (
            f"At most {self.per_second} {self._what} a second are allowed on one worker{by}. "
            "Wait as long as Retry-After says, and send fewer at once."
        )
        return Problem(429, "Too many requests", detail, headers=build_retry_after(1, 3), reason="rate")


def build_connect_limit(settings: Settings) -> UserRateLimit:
    """Build the limit on opening streams."""
    return UserRateLimit(settings.connect_rate_per_user, "attempts to open a stream", "BEACON_CONNECT_RATE_PER_USER")


def build_publish_limit(settings: Settings) -> UserRateLimit:
    return UserRateLimit(settings.publish_rate_per_user, "requests that publish", "BEACON_PUBLISH_RATE_PER_USER")


def get_publish_limit() -> UserRateLimit:
    """Return the current application's limit on publishing."""
    return components().publish_limit

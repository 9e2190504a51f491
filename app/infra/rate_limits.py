"""Rate limits per user: counted by each worker in its memory, or by all workers together in Redis or Valkey."""

import logging
import threading
import time

from limits import RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.components import components
from app.config import Settings
from app.infra.logs import FailureLog
from app.infra.problems import Problem, build_retry_after

log = logging.getLogger(__name__)

# A server that does not answer delays one request by this long, and is not asked again for a while.
ANSWER_S = 0.5
RETRY_S = 5.0


class SharedCounters:
    """Counters in Redis or Valkey that all workers share. A background part, so that it is closed at the end.

    While the server does not answer, it is left alone for a few seconds at a time.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._limiter: SlidingWindowCounterRateLimiter | None = None
        self._retry_at = 0.0
        self._failures = FailureLog(log, "the shared count of requests (BEACON_REDIS_URL)")

    def hit(self, item: RateLimitItemPerSecond, user: str) -> bool | None:
        """Count one hit and return whether it is allowed; None if the server does not answer."""
        if time.monotonic() < self._retry_at:
            return None
        try:
            allowed = self._get_limiter().hit(item, user)
        except StorageError as error:
            self._retry_at = time.monotonic() + RETRY_S
            self._failures.record_failure(error)
            return None
        self._failures.record_success()
        return allowed

    def start(self) -> None:
        """Do nothing: the first hit connects."""

    def stop(self) -> None:
        with self._lock:
            limiter, self._limiter = self._limiter, None
        if limiter is not None and isinstance(limiter.storage, RedisStorage):
            limiter.storage.storage.close()

    def _get_limiter(self) -> SlidingWindowCounterRateLimiter:
        with self._lock:
            if self._limiter is None:
                storage = RedisStorage(
                    self._url, wrap_exceptions=True, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S
                )
                self._limiter = SlidingWindowCounterRateLimiter(storage)
            return self._limiter


class UserRateLimit:
    """At most `per_second` hits of one user within any second. `what` and `setting` appear in the error text.

    Memory is bounded by the users of the last two seconds, with two counters each, which expire. (The moving window of
    `limits` would keep a list for every name for ever; its fixed window locks users out when the clock is set back.)
    With `shared`, all workers count together; while its server does not answer, each worker counts for itself.
    """

    def __init__(
        self, per_second: int, what: str = "requests", setting: str = "", shared: SharedCounters | None = None
    ) -> None:
        self.per_second, self._what, self._setting, self._shared = per_second, what, setting, shared
        # The name keeps two limits with the same number apart in the shared server.
        self._item = RateLimitItemPerSecond(per_second, namespace=f"beacon:{what.replace(' ', '-')}")
        self._lock = threading.Lock()
        self._limiter: SlidingWindowCounterRateLimiter | None = None

    def hit(self, user: str) -> None:
        """Count one hit. Above the limit it raises `Problem` 429 with reason `rate` and does not count the hit."""
        allowed = self._shared.hit(self._item, user) if self._shared is not None else None
        if allowed is None:
            allowed = self._get_limiter().hit(self._item, user)
        if not allowed:
            raise self._build_problem()

    def _get_limiter(self) -> SlidingWindowCounterRateLimiter:
        """Create the limiter at the first hit: its storage starts a timer, and building an app must start nothing."""
        with self._lock:
            if self._limiter is None:
                self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
            return self._limiter

    def _build_problem(self) -> Problem:
        by = f" ({self._setting})" if self._setting else ""
        where = "in the whole deployment" if self._shared is not None else "on one worker"
        detail = (
            f"At most {self.per_second} {self._what} a second are allowed {where}{by}. "
            "Wait as long as Retry-After says, and send fewer at once."
        )
        return Problem(429, "Too many requests", detail, headers=build_retry_after(1, 3), reason="rate")


def build_connect_limit(settings: Settings, shared: SharedCounters | None = None) -> UserRateLimit:
    """Build the limit on opening streams."""
    return UserRateLimit(
        settings.connect_rate_per_user, "attempts to open a stream", "BEACON_CONNECT_RATE_PER_USER", shared
    )


def build_publish_limit(settings: Settings, shared: SharedCounters | None = None) -> UserRateLimit:
    return UserRateLimit(
        settings.publish_rate_per_user, "requests that publish", "BEACON_PUBLISH_RATE_PER_USER", shared
    )


def get_publish_limit() -> UserRateLimit:
    """Return the current application's limit on publishing."""
    return components().publish_limit

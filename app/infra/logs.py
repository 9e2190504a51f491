"""Configures logging (`time level logger message key=value`), logs stream events and throttles failures."""

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger("beacon.stream")

# Minimum time between two lines: a new failure is logged at once, but it may come and go every second.
MIN_LOG_INTERVAL_S = 30.0
# How often a lasting failure is logged again.
REPEAT_INTERVAL_S = 600.0


class _LineFormatter(logging.Formatter):
    converter = staticmethod(time.gmtime)  # UTC, as everywhere
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


def configure_logging(level: int = logging.INFO) -> None:
    """Send the process's logs to standard error. Called by entry points, never on import."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LineFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("UnleashClient", "urllib3", "alembic.runtime"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log_stream_event(what: str, **facts: Any) -> None:
    """Log `[SSE] open user=alice after=12 …`. gunicorn's access log does not contain the end of a stream."""
    shown = " ".join(
        f"{name}={value!r}" if isinstance(value, str) and " " in value else f"{name}={value}"
        for name, value in facts.items()
        if value is not None
    )
    log.info("[SSE] %s pid=%s %s", what, os.getpid(), shown)


class FailureLog:
    """Logs failures of a task that is retried: the first one with its traceback, then a line every ten minutes while
    it lasts, and its end. At most two lines a minute, as when a dozen tasks wait for one database."""

    def __init__(self, logger: logging.Logger, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._what, self._clock = logger, what, clock
        # The kind of failure that was logged last; "" means no failure, as at the start.
        self._last_logged = ""
        self._logged_at = float("-inf")

    def record_failure(self, error: Exception) -> None:
        kind = type(error).__name__
        is_new = kind != self._last_logged
        if not self._may_log(MIN_LOG_INTERVAL_S if is_new else REPEAT_INTERVAL_S):
            return
        if is_new:
            self._log.error("%s failed and will be retried", self._what, exc_info=error)
        else:
            self._log.error("%s still fails: %s", self._what, kind)
        self._note_logged(kind)

    def record_success(self) -> None:
        if self._last_logged and self._may_log(MIN_LOG_INTERVAL_S):
            self._log.warning("%s works again", self._what)
            self._note_logged("")

    def _may_log(self, after_s: float) -> bool:
        return self._clock() - self._logged_at >= after_s

    def _note_logged(self, kind: str) -> None:
        self._last_logged, self._logged_at = kind, self._clock()

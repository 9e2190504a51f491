"""Logs: one line an event, `time level logger message key=value`; the `[SSE]` lines of streams."""

import logging
import os
import sys
import time
from typing import Any

log = logging.getLogger("beacon.stream")


class _Line(logging.Formatter):
    converter = staticmethod(time.gmtime)  # UTC, as everywhere
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


def configure(level: int = logging.INFO) -> None:
    """Send the process's logs to standard error; called by entry points, never on import."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("UnleashClient", "urllib3", "alembic.runtime"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def sse_line(what: str, **facts: Any) -> None:
    """`[SSE] open user=alice after=12 …`: gunicorn's access log never sees the end of a stream."""
    shown = " ".join(
        f"{name}={value!r}" if isinstance(value, str) and " " in value else f"{name}={value}"
        for name, value in facts.items()
        if value is not None
    )
    log.info("[SSE] %s pid=%s %s", what, os.getpid(), shown)

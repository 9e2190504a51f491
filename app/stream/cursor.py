"""Moved: the rule is the log's own, see `app.eventlog.cursor`."""

from app.eventlog.cursor import Start, start

__all__ = ["Start", "start"]

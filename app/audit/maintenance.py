"""Background tasks of the audit: summaries of repeated attempts, copies of the head, retention."""

import contextlib
from collections.abc import Callable, Iterator

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.audit import checkpoint, head_file, head_webhook
from app.config import Settings
from app.db import DatabaseUnavailable

MAINTENANCE_ACTOR = "beacon"
SUMMARY_INTERVAL_S = 15.0
HEAD_INTERVAL_S = 600.0
HEAD_FILE_INTERVAL_S = 5.0


def periodic_tasks(app: Flask, settings: Settings) -> Iterator[tuple[float, Callable[[], None]]]:
    """Each task with its interval in seconds."""
    attempts = app.extensions["beacon_attempts"]
    yield SUMMARY_INTERVAL_S, _in_app_context(app, attempts.flush)
    yield HEAD_INTERVAL_S, _in_app_context(app, checkpoint.log_head)
    yield HEAD_FILE_INTERVAL_S, _in_app_context(app, head_file.get_keeper(app).update)
    if settings.audit_head_url:
        yield HEAD_INTERVAL_S, _in_app_context(app, lambda: head_webhook.post_head(settings.audit_head_url))
    if settings.audit_retention_days > 0:
        yield (
            HEAD_INTERVAL_S,
            _in_app_context(app, lambda: checkpoint.apply_retention(settings.audit_retention_days, MAINTENANCE_ACTOR)),
        )


class ShutdownFlush:
    """Flushes counted attempts and the head file when the worker shuts down."""

    def __init__(self, app: Flask) -> None:
        self._calls = (
            _in_app_context(app, app.extensions["beacon_attempts"].write_pending),
            _in_app_context(app, head_file.get_keeper(app).update),
        )

    def start(self) -> None:
        """Does nothing: the work is done on shutdown."""

    def stop(self) -> None:
        for call in self._calls:
            with contextlib.suppress(SQLAlchemyError, DatabaseUnavailable):  # the database may already be gone
                call()


def _in_app_context(app: Flask, call: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with app.app_context():
            call()

    return run

"""What runs beside the requests for the audit: minutes that are over, the head into the log, retention."""

import contextlib
from collections.abc import Callable, Iterator

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.audit import checkpoint, head_file, head_webhook
from app.config import Settings
from app.db import DatabaseUnavailable

ACTOR = "beacon"
SUMMARY_INTERVAL_S = 15.0
HEAD_INTERVAL_S = 600.0
HEAD_FILE_INTERVAL_S = 5.0


def periodic_tasks(app: Flask, settings: Settings) -> Iterator[tuple[float, Callable[[], None]]]:
    """Each with the seconds between two turns."""
    attempts = app.extensions["beacon_attempts"]
    yield SUMMARY_INTERVAL_S, _in_app_context(app, attempts.flush)
    yield HEAD_INTERVAL_S, _in_app_context(app, checkpoint.log_head)
    yield HEAD_FILE_INTERVAL_S, _in_app_context(app, head_file.get_keeper(app).update)
    if settings.audit_head_url:
        yield HEAD_INTERVAL_S, _in_app_context(app, lambda: head_webhook.post_head(settings.audit_head_url))
    if settings.audit_retention_days > 0:
        yield (
            HEAD_INTERVAL_S,
            _in_app_context(app, lambda: checkpoint.apply_retention(settings.audit_retention_days, ACTOR)),
        )


class ShutdownFlush:
    """What a worker that ends has only counted is written before it is gone, and the head behind it is kept."""

    def __init__(self, app: Flask) -> None:
        self._calls = (
            _in_app_context(app, app.extensions["beacon_attempts"].write_pending),
            _in_app_context(app, head_file.get_keeper(app).update),
        )

    def start(self) -> None:
        """Nothing runs before the end."""

    def stop(self) -> None:
        for call in self._calls:
            with contextlib.suppress(SQLAlchemyError, DatabaseUnavailable):  # it may be what ended before this worker
                call()


def _in_app_context(app: Flask, call: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with app.app_context():
            call()

    return run

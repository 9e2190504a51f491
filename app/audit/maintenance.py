"""Background tasks of the audit: summaries of repeated attempts, copies of the head, retention."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.audit import checkpoint, head_file, head_webhook
from app.components import components
from app.config import Settings
from app.db import DatabaseUnavailable

MAINTENANCE_ACTOR = "beacon"
SUMMARY_INTERVAL_S = 15.0
HEAD_INTERVAL_S = 600.0
HEAD_FILE_INTERVAL_S = 5.0


Task = tuple[float, str, Callable[[], object]]
"""Its interval in seconds, its name, and what runs in an application context."""


def local_tasks(app: Flask) -> Iterator[Task]:
    """What every process does for itself, and for its host."""
    yield SUMMARY_INTERVAL_S, "audit summaries", components(app).attempt_recorder.flush
    yield HEAD_FILE_INTERVAL_S, "audit head file", head_file.get_keeper(app).update


def deployment_tasks(settings: Settings) -> Iterator[Task]:
    """What the deployment needs once."""
    yield HEAD_INTERVAL_S, "audit head", checkpoint.log_head
    if settings.audit_head_url:
        yield HEAD_INTERVAL_S, "audit head webhook", lambda: head_webhook.post_head(settings.audit_head_url)
    if settings.audit_retention_days > 0:
        retain = partial(checkpoint.apply_retention, settings.audit_retention_days, MAINTENANCE_ACTOR)
        yield HEAD_INTERVAL_S, "audit retention", retain


class ShutdownFlush:
    """Flushes counted attempts and the head file when the process shuts down."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._calls = (components(app).attempt_recorder.write_pending, head_file.get_keeper(app).update)

    def start(self) -> None:
        """Does nothing: the work is done on shutdown."""

    def stop(self) -> None:
        for call in self._calls:
            # The database may already be gone.
            with contextlib.suppress(SQLAlchemyError, DatabaseUnavailable), self._app.app_context():
                call()

"""Background tasks of the audit: summaries of repeated attempts, copies of the head, retention."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.audit import checkpoint, head_file, head_webhook
from app.config import Settings
from app.db import DatabaseUnavailable
from app.infra.app_context import in_app_context

MAINTENANCE_ACTOR = "beacon"
SUMMARY_INTERVAL_S = 15.0
HEAD_INTERVAL_S = 600.0
HEAD_FILE_INTERVAL_S = 5.0


def periodic_tasks(app: Flask, settings: Settings) -> Iterator[tuple[float, Callable[[], object]]]:
    """Each task with its interval in seconds."""
    tasks: list[tuple[float, Callable[[], object]]] = [
        (SUMMARY_INTERVAL_S, app.extensions["beacon_attempts"].flush),
        (HEAD_INTERVAL_S, checkpoint.log_head),
        (HEAD_FILE_INTERVAL_S, head_file.get_keeper(app).update),
    ]
    if settings.audit_head_url:
        tasks.append((HEAD_INTERVAL_S, partial(head_webhook.post_head, settings.audit_head_url)))
    if settings.audit_retention_days > 0:
        prune = partial(checkpoint.apply_retention, settings.audit_retention_days, MAINTENANCE_ACTOR)
        tasks.append((HEAD_INTERVAL_S, prune))
    return ((interval_s, in_app_context(app, call)) for interval_s, call in tasks)


class ShutdownFlush:
    """Flushes counted attempts and the head file when the worker shuts down."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._calls = (app.extensions["beacon_attempts"].write_pending, head_file.get_keeper(app).update)

    def start(self) -> None:
        """Does nothing: the work is done on shutdown."""

    def stop(self) -> None:
        for call in self._calls:
            # The database may already be gone.
            with contextlib.suppress(SQLAlchemyError, DatabaseUnavailable), self._app.app_context():
                call()

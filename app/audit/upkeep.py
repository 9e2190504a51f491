"""What runs beside the requests for the audit: minutes that are over, the head into the log, retention."""

from collections.abc import Callable, Iterator

from flask import Flask

from app.audit import checkpoint
from app.config import Settings

ACTOR = "beacon"
TELL_EVERY_S = 15.0
HEAD_EVERY_S = 600.0


def tasks(app: Flask, settings: Settings) -> Iterator[tuple[float, Callable[[], None]]]:
    """Each with the seconds between two turns."""
    attempts = app.extensions["beacon_attempts"]
    yield TELL_EVERY_S, _within(app, attempts.flush)
    yield HEAD_EVERY_S, _within(app, checkpoint.log_head)
    if settings.audit_retention_days > 0:
        yield HEAD_EVERY_S, _within(app, lambda: checkpoint.keep(settings.audit_retention_days, ACTOR))


class AtTheEnd:
    """What a worker that ends has only counted is written before it is gone."""

    def __init__(self, app: Flask) -> None:
        self._call = _within(app, app.extensions["beacon_attempts"].write_pending)

    def start(self) -> None:
        """Nothing runs before the end."""

    def stop(self) -> None:
        self._call()


def _within(app: Flask, call: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with app.app_context():
            call()

    return run

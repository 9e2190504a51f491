"""`/metrics`: what the streams of this host's workers do, for Prometheus. Plain numbers, exported once a second."""

import logging
import threading
from collections.abc import Callable

from flask import Flask, Response, current_app
from flask.typing import ResponseReturnValue

from app.background import BackgroundServices, Periodic
from app.eventlog import reader as log_read
from app.infra.problems import Problem
from app.infra.sqlite_wal import WalState
from app.monitoring import multiprocess_files
from app.monitoring.metric_definitions import Exported, Snapshot
from app.stream.counters import Counters
from app.web.audit import client_errors
from app.web.auth import require
from app.web.health import bp

log = logging.getLogger(__name__)


FLUSH_EVERY_S = 1.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """A part of the live half: exports what `look` answers, every second and once more when it stops."""

    def __init__(self, look: Callable[[], Snapshot]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._exported: Exported | None = None
        self._every = Periodic(FLUSH_EVERY_S, self.flush)

    def start(self) -> None:
        """Nothing about metrics, a full disk least of all, keeps a worker from starting or stopping."""
        self._try_flush()
        self._every.start()

    def stop(self) -> None:
        """The last second counts too: it holds the goodbyes."""
        self._every.stop()
        self._try_flush()

    def flush(self) -> None:
        with self._lock:
            self._made().follow(self._look())

    def text(self) -> bytes:
        """All workers' metrics; this one's as of now, the others' as of their last flush."""
        from prometheus_client import generate_latest

        self.flush()
        exported = self._made()
        return multiprocess_files.read_all(exported.folder) if exported.folder else generate_latest(exported.registry)

    def _try_flush(self) -> None:
        try:
            self.flush()
        except Exception:
            log.exception("metrics could not be exported")

    def _made(self) -> Exported:
        """Made by whoever needs it first: an application that was only built keeps no files."""
        if self._exported is None:
            self._exported = Exported()
        return self._exported


def init_app(app: Flask, live: BackgroundServices, counters: Callable[[], Counters]) -> None:
    """Have metrics of `live`, which starts and stops them; the numbers come from `counters`."""
    build = app.extensions["beacon_assets"].build

    def look() -> Snapshot:
        unreadable = log_read.unreadable_rows.count
        reported = client_errors.counted(app)
        wal = live.wal.state if live.wal is not None else WalState(0, 0.0)
        size, settings = live.log_measure.last, live.settings
        return Snapshot(
            counters(),
            live.tail.cursor,
            live.is_degraded(),
            unreadable,
            build,
            reported,
            wal.size,
            wal.age_s,
            size.rows,
            size.bytes,
            settings.event_max_rows,
            settings.event_max_mib * 1024 * 1024,
        )

    app.extensions["beacon_metrics"] = metrics = Metrics(look)
    live.add_first(metrics)


@bp.get("/metrics")
@require("viewer", "read")
def scrape() -> ResponseReturnValue:
    metrics: Metrics = current_app.extensions["beacon_metrics"]
    try:
        text = metrics.text()
    except OSError as error:
        detail = f"The folder of the metrics cannot be used ({error.strerror or error}). If that lasts, restart Beacon."
        raise Problem(503, "No metrics now", detail, headers={"Retry-After": "5"}) from error
    return Response(text, content_type=CONTENT_TYPE)

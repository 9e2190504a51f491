"""`/metrics` for Prometheus: numbers of all workers of this host, exported once a second."""

import logging
import threading
from collections.abc import Callable

from flask import Flask, Response
from flask.typing import ResponseReturnValue

from app.background import Periodic, StreamServices
from app.components import components
from app.eventlog import reader as log_read
from app.infra.problems import Problem
from app.infra.sqlite_wal import WalState
from app.monitoring import multiprocess_files
from app.monitoring.metric_definitions import MetricExporter, WorkerSnapshot
from app.stream.counters import Counters
from app.web.auth import require
from app.web.health import bp

log = logging.getLogger(__name__)


FLUSH_INTERVAL_S = 1.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """A background service that exports `snapshot` every second, and once more when it stops."""

    def __init__(self, snapshot: Callable[[], WorkerSnapshot]) -> None:
        self._snapshot = snapshot
        self._lock = threading.Lock()
        self._exported: MetricExporter | None = None
        self._every = Periodic(FLUSH_INTERVAL_S, self.flush)

    def start(self) -> None:
        """Start exporting. Errors, such as a full disk, must not keep a worker from starting or stopping."""
        self._try_flush()
        self._every.start()

    def stop(self) -> None:
        """Stop and export once more, because streams are closed in the last second."""
        self._every.stop()
        self._try_flush()

    def flush(self) -> None:
        with self._lock:
            self._exporter().update(self._snapshot())

    def text(self) -> bytes:
        """The metrics of all workers: current for this one, as of the last flush for the others."""
        from prometheus_client import generate_latest

        self.flush()
        exported = self._exporter()
        return multiprocess_files.read_all(exported.folder) if exported.folder else generate_latest(exported.registry)

    def _try_flush(self) -> None:
        try:
            self.flush()
        except Exception:
            log.exception("metrics could not be exported")

    def _exporter(self) -> MetricExporter:
        """The exporter, created on first use, so that an application that is only built creates no files."""
        if self._exported is None:
            self._exported = MetricExporter()
        return self._exported


def init_app(app: Flask, live: StreamServices, counters: Callable[[], Counters]) -> None:
    """Add the metrics to the background services of `live`; `counters` returns the stream counters."""
    build = components(app).assets.build

    def snapshot() -> WorkerSnapshot:
        reported = components(app).client_errors
        wal = live.wal.state if live.wal is not None else WalState(0, 0.0)
        size, settings = live.log_measure.last, live.settings
        return WorkerSnapshot(
            counters=counters(),
            cursor=live.tail.cursor,
            degraded=live.is_degraded(),
            unreadable=log_read.unreadable_rows.count,
            build=build,
            client_errors=reported.counts,
            wal_bytes=wal.size,
            wal_age_s=wal.age_s,
            log_rows=size.rows,
            log_bytes=size.bytes,
            max_log_rows=settings.event_max_rows,
            max_log_bytes=settings.event_max_mib * 1024 * 1024,
        )

    components(app).metrics = metrics = Metrics(snapshot)
    live.add_first(metrics)


@bp.get("/metrics")
@require("viewer", "read")
def scrape() -> ResponseReturnValue:
    metrics = components().metrics
    try:
        text = metrics.text()
    except OSError as error:
        detail = f"The metrics folder cannot be used ({error.strerror or error}). If this persists, restart Beacon."
        raise Problem(503, "No metrics now", detail, headers={"Retry-After": "5"}) from error
    return Response(text, content_type=CONTENT_TYPE)

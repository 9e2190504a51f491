"""The metrics that Beacon exports to Prometheus. `docs/metrics.md` explains what each one is for."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.monitoring import multiprocess_files
from app.stream.counters import LAG_BUCKETS_S, Counters

if TYPE_CHECKING:
    # The library decides at import whether it serves one process or many. Only gunicorn's configuration knows that,
    # and it imports this module first, so the library is imported later.
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LAG_METRIC = "beacon_delivery_lag_seconds"
LAG_HELP = "Seconds from appending an event to sending it to one reader; replays do not count."

# How a gauge combines live workers: sum, maximum or minimum. Ended and silent workers do not count.
Mode = Literal["livesum", "livemax", "livemin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSnapshot:
    """The state of one worker at one moment."""

    counters: Counters
    cursor: int
    """The last event id that this worker has read from the log."""
    degraded: bool
    """True if it cannot read the log now."""
    unreadable: int
    """The number of log rows that it could not read."""
    build: str
    client_errors: Mapping[str, float]
    """Errors that pages reported, by part of the page."""
    wal_bytes: int
    """The size of SQLite's write-ahead log."""
    wal_age_s: float
    """How long a reader has kept it from being checkpointed."""
    log_rows: int
    log_bytes: int
    max_log_rows: int
    max_log_bytes: int


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One exported metric. Without `mode` it is a counter; with `label`, `read` returns a number per label value.

    The label values in `known` are exported from the start, at 0, because a rate over a new series shows nothing.
    """

    name: str
    help: str
    read: Callable[[WorkerSnapshot], float | Mapping[str, float]]
    mode: Mode | None = None
    label: str = ""
    known: tuple[str, ...] = ()


_SHAPES = ("json", "html", "reconciliation", "events", "sse")

METRICS = (
    MetricDefinition(
        "beacon_streams_open", "Open streams.", lambda now: now.counters.open, "livesum", "shape", _SHAPES
    ),
    MetricDefinition(
        "beacon_streams_opened_total", "Streams opened.", lambda now: now.counters.opens, label="shape", known=_SHAPES
    ),
    MetricDefinition(
        "beacon_streams_closed_total",
        "Streams closed, by reason.",
        lambda now: now.counters.closes,
        label="reason",
        known=("drain", "lifetime", "revoked", "flag-off", "slow", "client-gone", "error", multiprocess_files.KILLED),
    ),
    MetricDefinition(
        "beacon_stream_resumes_total",
        "How streams began: without a cursor, with a replay, with a reset.",
        lambda now: now.counters.resumes,
        label="outcome",
        known=("none", "replayed", "reset"),
    ),
    MetricDefinition(
        "beacon_streams_refused_total",
        "Streams refused, by reason.",
        lambda now: now.counters.refusals,
        label="reason",
        known=("flag-off", "draining", "full", "user-cap", "rate"),
    ),
    MetricDefinition(
        "beacon_deliveries_total", "Events sent; one event to one reader is one.", lambda now: now.counters.deliveries
    ),
    MetricDefinition(
        "beacon_stream_bytes_total",
        "Bytes handed to the kernel for streams, heartbeats included.",
        lambda now: now.counters.bytes,
    ),
    MetricDefinition(
        "beacon_readers_fell_behind_total",
        "How often a slow reader was disconnected from live delivery and sent back to the log.",
        lambda now: now.counters.fell_behind,
    ),
    MetricDefinition(
        "beacon_readers_slow",
        "Readers that are slow to take their bytes now.",
        lambda now: now.counters.slow_now,
        "livesum",
    ),
    MetricDefinition(
        "beacon_loop_lag_seconds",
        "Longest delay of an event loop within the last second, of the worst worker.",
        lambda now: now.counters.loop_lag_s,
        "livemax",
    ),
    MetricDefinition(
        "beacon_draining", "Workers that are draining their streams.", lambda now: now.counters.draining, "livesum"
    ),
    MetricDefinition(
        "beacon_drain_streams_left",
        "Streams still open on draining workers.",
        lambda now: now.counters.drain_left,
        "livesum",
    ),
    MetricDefinition(
        "beacon_unreadable_events_total",
        "Rows of the log that a worker could not read and skipped; each worker counts them.",
        lambda now: now.unreadable,
    ),
    MetricDefinition(
        "beacon_client_errors_total",
        "Errors that pages reported, by part of the page.",
        lambda now: now.client_errors,
        label="where",
        known=("script", "promise", "swap", "stream", "display", "load", "other"),
    ),
    MetricDefinition(
        "beacon_log_head", "The highest id of the log that any worker has read.", lambda now: now.cursor, "livemax"
    ),
    MetricDefinition(
        "beacon_log_tail_cursor",
        "The last id of the log that every worker has read.",
        lambda now: now.cursor,
        "livemin",
    ),
    MetricDefinition("beacon_degraded", "Workers that cannot read the log now.", lambda now: now.degraded, "livesum"),
    MetricDefinition("beacon_log_rows", "Events in the log.", lambda now: now.log_rows, "livemax"),
    MetricDefinition("beacon_log_bytes", "Bytes of payloads in the log.", lambda now: now.log_bytes, "livemax"),
    MetricDefinition(
        "beacon_log_max_rows", "Maximum number of events in the log.", lambda now: now.max_log_rows, "livemax"
    ),
    MetricDefinition(
        "beacon_log_max_bytes", "Maximum bytes of payloads in the log.", lambda now: now.max_log_bytes, "livemax"
    ),
    MetricDefinition("beacon_wal_bytes", "Size of SQLite's write-ahead log.", lambda now: now.wal_bytes, "livemax"),
    MetricDefinition(
        "beacon_wal_age_seconds",
        "How long a reader has kept SQLite's write-ahead log from being checkpointed.",
        lambda now: now.wal_age_s,
        "livemax",
    ),
    MetricDefinition("beacon_workers", "Live workers.", lambda _: 1, "livesum"),
    MetricDefinition(
        "beacon_build_info", "Always 1; labels name the running builds.", lambda now: {now.build: 1}, "livemax", "build"
    ),
)


class MetricExporter:
    """Exports all metrics of one process: to a registry, or to files if the library's folder is set."""

    def __init__(self) -> None:
        import prometheus_client

        # Single processes also export the start time of each series; disabled so that both modes have the same names.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        folder = os.environ.get(multiprocess_files.ENV_VARIABLE)
        self.folder = Path(folder) if folder else None
        if self.folder is not None:
            multiprocess_files.reserve_space(self.folder, os.getpid())
        self.registry = prometheus_client.CollectorRegistry()
        self._metrics = [_ExportedMetric(metric, self.registry) for metric in METRICS]
        self._lag = prometheus_client.Histogram(LAG_METRIC, LAG_HELP, buckets=LAG_BUCKETS_S, registry=self.registry)
        self._lag_counts, self._lag_sum_s = [0] * (len(LAG_BUCKETS_S) + 1), 0.0

    def update(self, now: WorkerSnapshot) -> None:
        """Export what changed since the last call. Takes microseconds; not thread-safe."""
        for metric in self._metrics:
            metric.update(now)
        counts, sum_s = list(now.counters.lag.counts), now.counters.lag.sum_s
        if counts != self._lag_counts:
            new = [count - seen for count, seen in zip(counts, self._lag_counts, strict=True)]
            observe_many(self._lag, new, sum_s - self._lag_sum_s)
            self._lag_counts, self._lag_sum_s = counts, sum_s
        if self.folder is not None:
            multiprocess_files.touch_alive(self.folder, os.getpid())


class _ExportedMetric:
    """A metric and its last exported numbers, so that only differences are written."""

    def __init__(self, metric: MetricDefinition, registry: "CollectorRegistry") -> None:
        import prometheus_client

        self._metric = metric
        self._seen: dict[str, float] = {}
        labels = (metric.label,) if metric.label else ()
        self._exported: Counter | Gauge = (
            prometheus_client.Counter(metric.name, metric.help, labels, registry=registry)
            if metric.mode is None
            else prometheus_client.Gauge(
                metric.name, metric.help, labels, multiprocess_mode=metric.mode, registry=registry
            )
        )
        for value in metric.known:
            self._exported.labels(value)

    def update(self, now: WorkerSnapshot) -> None:
        read = self._metric.read(now)
        # Copied in one step, because threads may add a label value at any moment.
        numbers = dict(read) if isinstance(read, Mapping) else {"": read}
        for value in self._seen.keys() - numbers.keys():
            numbers[value] = 0
        for value, number in numbers.items():
            if number != self._seen.get(value):
                self._export(value, number)

    def _export(self, value: str, number: float) -> None:
        exported = self._exported.labels(value) if self._metric.label else self._exported
        seen = self._seen.get(value, 0)
        if self._metric.mode is not None:
            exported.set(number)  # type: ignore[union-attr]  # with a mode it is a gauge
        else:
            # A counter that fell restarted from 0, as Prometheus itself assumes.
            exported.inc(number - seen if number >= seen else number)
        self._seen[value] = number


def observe_many(histogram: "Histogram", counts: Sequence[int], sum_s: float) -> None:
    """Add many observations at once: `counts` for each bucket (the last one is +Inf) and their sum `sum_s`.

    The library takes one observation at a time, and a busy second has a hundred thousand of them, so this writes to two
    of its private attributes. It is the only place that does; a test compares the result with `observe`.
    """
    for bucket, count in zip(histogram._buckets, counts, strict=True):
        if count:
            bucket.inc(count)
    histogram._sum.inc(sum_s)

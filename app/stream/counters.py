"""Stream counters of a worker as plain numbers: an increment takes nanoseconds; metrics read them every second."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

LAG_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Lag:
    """Seconds from append to send: deliveries per bucket (upper bounds; the last bucket is unbounded)."""

    def __init__(self) -> None:
        self.counts = [0] * (len(LAG_BUCKETS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float, deliveries: int) -> None:
        self.counts[bisect_left(LAG_BUCKETS_S, seconds)] += deliveries
        self.sum_s += max(seconds, 0.0) * deliveries


@dataclass(slots=True)
class Counters:
    """Monotonic counters, except the gauges `open`, `slow_now`, `loop_lag_s`, `draining` and `drain_left`."""

    open: Counter[str] = field(default_factory=Counter)
    """Open streams by format."""
    opens: Counter[str] = field(default_factory=Counter)
    """Opened streams by format."""
    closes: Counter[str] = field(default_factory=Counter)
    """Closed streams by reason: a `CloseReason`, `client-gone` or `error`. Streams of a killed worker are counted by
    gunicorn's master when it cleans up that worker's metrics."""
    resumes: Counter[str] = field(default_factory=Counter)
    """How streams resumed: `none` (nothing was missed), `replayed`, `reset`."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Refused streams by reason: `flag-off`, `draining`, `full`, `user-cap`, `rate`."""
    deliveries: int = 0
    """Events sent; one event to one subscriber counts as one."""
    bytes: int = 0
    """Bytes handed to the kernel, heartbeats included."""
    fell_behind: int = 0
    """How often a subscriber's socket blocked and the subscriber had to catch up from the log."""
    slow_now: int = 0
    """Subscribers whose socket is blocked now."""
    lag: Lag = field(default_factory=Lag)
    loop_lag_s: float = 0.0
    """Maximum delay of the event loop within the last second."""
    draining: int = 0
    """1 while this worker closes its streams in order to shut down."""
    drain_left: int = 0
    """Streams still open during the shutdown."""

"""What this worker's streams have done, as plain numbers: nanoseconds an increment; metrics read them once a second."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

LAG_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Lag:
    """Seconds from append to send: how many deliveries fell into each bucket (upper bounds; the last is endless)."""

    def __init__(self) -> None:
        self.counts = [0] * (len(LAG_BUCKETS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float, deliveries: int) -> None:
        self.counts[bisect_left(LAG_BUCKETS_S, seconds)] += deliveries
        self.sum_s += max(seconds, 0.0) * deliveries


@dataclass(slots=True)
class Counters:
    """Only ever rising, except `open`, `slow_now`, `loop_lag_s` and the two of the drain."""

    open: Counter[str] = field(default_factory=Counter)
    """Open streams by shape."""
    opens: Counter[str] = field(default_factory=Counter)
    """Opened streams by shape."""
    closes: Counter[str] = field(default_factory=Counter)
    """Closed streams by reason: a goodbye's, `client-gone` or `error`. Those of a worker that is killed are counted by
    gunicorn's master, when it tidies up that worker's metrics."""
    resumes: Counter[str] = field(default_factory=Counter)
    """How streams began: `none` (nothing was missed), `replayed`, `reset`."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Streams not opened by reason: `flag-off`, `draining`, `full`, `user-cap`, `rate`."""
    deliveries: int = 0
    """Events sent: one event to one reader is one."""
    bytes: int = 0
    """Handed to the kernel, heartbeats included."""
    fell_behind: int = 0
    """How often a reader did not take its bytes and was sent back to the log."""
    slow_now: int = 0
    """Readers that hold back their bytes now."""
    lag: Lag = field(default_factory=Lag)
    loop_lag_s: float = 0.0
    """The longest that the event loop came late within the last second."""
    draining: int = 0
    """1 while this worker says goodbye to its streams."""
    drain_left: int = 0
    """Streams still open while it does."""

"""The mean delivery lag of the last minute over all workers of this host, computed from the exported metrics."""

import re
import threading
import time
from collections import deque
from collections.abc import Callable

from app.monitoring.metric_definitions import LAG_METRIC

WINDOW_S = 60.0
_LAG_LINE = re.compile(rf"^{LAG_METRIC}_(sum|count) (\S+)$".encode(), re.MULTILINE)


class DeliveryLag:
    """Samples the metrics on demand; the mean covers the deliveries between samples. `text` returns `/metrics`."""

    def __init__(self, text: Callable[[], bytes], clock: Callable[[], float] = time.monotonic) -> None:
        self._text, self._clock = text, clock
        self._looks: deque[tuple[float, float, float]] = deque()
        self._lock = threading.Lock()

    def mean_s(self) -> float | None:
        """The mean lag, or None if nothing was delivered or the metrics cannot be read."""
        try:
            figures = {name: float(value) for name, value in _LAG_LINE.findall(self._text())}
        except OSError:
            return None
        now, sum_s, count = self._clock(), figures.get(b"sum", 0.0), figures.get(b"count", 0.0)
        with self._lock:
            if self._looks and count < self._looks[-1][2]:
                self._looks.clear()  # the counters restarted
            self._looks.append((now, sum_s, count))
            # Keep the newest sample that is older than the window: it is where the window begins.
            while len(self._looks) > 1 and self._looks[1][0] <= now - WINDOW_S:
                self._looks.popleft()
            _, first_s, first = self._looks[0]
        return (sum_s - first_s) / (count - first) if count > first else None

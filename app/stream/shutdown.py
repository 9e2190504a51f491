"""Shuts down a worker's streams in an order that loses nothing and spreads the clients' reconnects over time."""

import random
import time
from collections.abc import Callable

from app.stream.hub import Hub

# A load balancer polls /readyz about this often; new requests are still answered during this time.
READINESS_NOTICE_S = 2.0
# Streams closed per second, unless there is too little time for all of them.
CLOSES_PER_S = 500
CHECK_INTERVAL_S = 0.02


class GracefulShutdown:
    """Takes at most `drain_s`. Readiness goes off first, then streams end in random order, then the worker may stop."""

    def __init__(self, hub: Hub, drain_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._hub, self._drain_s, self._sleep = hub, drain_s, sleep

    def run(self) -> None:
        ends = time.monotonic() + self._drain_s
        counters = self._hub.counters
        self._hub.draining = True
        counters.draining, counters.drain_left = 1, len(self._hub)
        self._sleep(min(READINESS_NOTICE_S, self._drain_s / 10))
        self._close_streams()
        while len(self._hub) and time.monotonic() < ends:
            counters.drain_left = len(self._hub)
            self._sleep(CHECK_INTERVAL_S)
        counters.drain_left = len(self._hub)

    def _close_streams(self) -> None:
        subscribers = self._hub.snapshot()
        random.shuffle(subscribers)
        spread_s = min(self._drain_s / 2, len(subscribers) / CLOSES_PER_S)
        began = time.monotonic()
        for place, subscriber in enumerate(subscribers):
            wait_s = began + spread_s * place / len(subscribers) - time.monotonic()
            if wait_s > 0:
                self._sleep(wait_s)
            subscriber.close("drain")
            self._hub.counters.drain_left = len(self._hub)

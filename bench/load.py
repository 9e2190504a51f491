"""A steady load on open streams, and what it cost the server."""

import time
from dataclasses import dataclass

from bench.client import Client, Window
from bench.peers.server import Server
from bench.processes import cpu_s
from bench.publishing import BATCH_EVERY_S, EVENT_BYTES, Publisher

CATCH_UP_S = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """`rate` events a second of `size` bytes; measured for `seconds` after `warm_s`."""

    rate: float
    seconds: float
    warm_s: float = 2.0
    size: int = EVENT_BYTES
    every_s: float = BATCH_EVERY_S


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu_s`: of the serving worker, in the window. `late_s`: how far the publisher fell behind its schedule."""

    window: Window
    cpu_s: float
    late_s: float

    @property
    def deliveries_per_cpu_s(self) -> float:
        return self.window.deliveries / self.cpu_s

    @property
    def us_a_delivery(self) -> float:
        return self.cpu_s / max(1, self.window.deliveries) * 1e6


def run(server: Server, client: Client, publisher: Publisher, load: Load) -> Cost:
    publisher.begin(load.rate, load.warm_s + load.seconds + 0.5, size=load.size, every_s=load.every_s)
    time.sleep(load.warm_s)
    before = cpu_s(server.worker)
    client.start()
    time.sleep(load.seconds)
    window = client.stop()
    used = cpu_s(server.worker) - before
    return Cost(window, used, publisher.finish().late_s)


def lost(client: Client, publisher: Publisher, within_s: float = CATCH_UP_S) -> int:
    """Events that streams have missed for good: holes in their numbers, and streams that never got the newest."""
    found = client.wait(publisher.last, within_s)
    return found.lost + found.streaming - min(found.streaming, found.complete)

"""CPU of a web worker with 5,000 streams on which only heartbeats happen (every 15 s), and of the worker beside it."""

import time

from bench.figure import Figure, Medians, Reading, Row, at_most, cells, ours
from bench.peers.ours import Ours
from bench.peers.server import Server
from bench.processes import cpu_s

STREAMS = 5_000
SETTLE_S = 3.0
AIM_PERCENT = 3.0


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)
    processes = (server.worker, server.background)
    with server.client() as client, server.publisher() as publisher:
        server.open(client, publisher, STREAMS // 10 if quick else STREAMS)
        time.sleep(SETTLE_S)
        before, began = cpu_s(*processes), time.monotonic()
        time.sleep(3 if quick else 30)  # two heartbeats of every stream
        used = cpu_s(*processes) - before
        return Reading({"percent": used / (time.monotonic() - began) * 100}, client.windows)


def rows(medians: Medians) -> list[Row]:
    return [
        Row(
            "workers' CPU with 5,000 idle streams",
            cells(medians, lambda values: f"{values['percent']:.1f} %"),
            f"<= {AIM_PERCENT:.0f} % of a core",
            at_most(ours(medians, "percent"), AIM_PERCENT),
        )
    ]


FIGURE = Figure("idle", __doc__ or "", (Ours,), measure, rows)

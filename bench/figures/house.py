"""CPU of the whole deployment, all its processes: without a stream, and with 10 streams at 100 events a second."""

import time

from bench import load
from bench.figure import Figure, Medians, Reading, Row, at_most, both, cells, ours
from bench.load import Load
from bench.peers.ours import Ours
from bench.peers.server import Server
from bench.processes import cpu_s

STREAMS = 10
RATE = 100
SETTLE_S = 3.0


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)
    seconds = 3 if quick else 20
    rest = server.idle_processes
    with server.client() as client, server.publisher() as publisher:
        time.sleep(SETTLE_S)
        before, began = cpu_s(server.worker, *rest), time.monotonic()
        time.sleep(seconds)
        idle = (cpu_s(server.worker, *rest) - before) / (time.monotonic() - began)
        server.open(client, publisher, STREAMS)
        before = cpu_s(*rest)
        cost = load.run(server, client, publisher, Load(RATE, seconds))
        busy = (cost.cpu_s + cpu_s(*rest) - before) / cost.window.seconds
        values = {"idle_percent": idle * 100, "busy_percent": busy * 100, "lost": load.lost(client, publisher)}
        return Reading(values, client.windows)


def rows(medians: Medians) -> list[Row]:
    return [
        Row(
            "deployment's CPU, idle / 10 streams x 100/s",
            cells(medians, lambda values: f"{values['idle_percent']:.1f} / {values['busy_percent']:.1f} %"),
            "< 5 / < 15 % of a core",
            both(at_most(ours(medians, "idle_percent"), 5), at_most(ours(medians, "busy_percent"), 15)),
        )
    ]


FIGURE = Figure("house", __doc__ or "", (Ours,), measure, rows)

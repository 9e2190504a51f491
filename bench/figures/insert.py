"""A row inserted into the event table by another process, until 1,000 streams have it."""

from bench import load
from bench.figure import Figure, Medians, Reading, Row, at_most, both, cells, ours
from bench.load import Load
from bench.peers.ours import Ours
from bench.peers.server import Server

STREAMS = 1_000
ROWS_PER_S = 10
# A moment of its own for each row, so that they meet the server's look-ups at every phase.
EVERY_S = 0.097


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)
    with server.client() as client, server.inserter() as inserter:
        server.open(client, inserter, STREAMS)
        cost = load.run(server, client, inserter, Load(ROWS_PER_S, 2 if quick else 20, every_s=EVERY_S))
        values = {"p50_ms": cost.window.p50_ms, "p99_ms": cost.window.p99_ms, "lost": load.lost(client, inserter)}
        return Reading(values, client.windows)


def rows(medians: Medians) -> list[Row]:
    return [
        Row(
            "row by another process -> 1,000 streams, p50 / p99",
            cells(medians, lambda values: f"{values['p50_ms']:.1f} / {values['p99_ms']:.1f} ms"),
            "<= 20 / 60 ms",
            both(at_most(ours(medians, "p50_ms"), 20), at_most(ours(medians, "p99_ms"), 60)),
        )
    ]


FIGURE = Figure("insert", __doc__ or "", (Ours,), measure, rows)

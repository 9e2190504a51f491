"""1,000 streams, 800 events a second offered, more than most can send: what arrives, and how late."""

from bench import load
from bench.figure import Figure, Medians, Reading, Row, at_least, at_most, both, cells, ours, ratio
from bench.load import Load
from bench.peers.flask_sse import FlaskSse
from bench.peers.nchan import Nchan
from bench.peers.ours import Ours
from bench.peers.server import Server
from bench.peers.starlette import Starlette

STREAMS = 1_000
RATE = 800
P99_MS = 80


def measure(server: Server, quick: bool) -> Reading:
    with server.client() as client, server.publisher() as publisher:
        server.open(client, publisher, STREAMS)
        before = client.status().lost
        cost = load.run(server, client, publisher, Load(RATE, 3 if quick else 10, warm_s=3))
        # Holes in the numbers only: a server that cannot keep up still has events on their way.
        values = {
            "per_s": cost.window.per_s,
            "p99_ms": cost.window.p99_ms,
            "lost": client.status().lost - before,
        }
        return Reading(values, client.windows)


def rows(medians: Medians) -> list[Row]:
    nchan = at_least(ratio(medians, "per_s", "nchan"), 5)
    starlette = at_least(ratio(medians, "per_s", "sse-starlette"), 15)
    return [
        Row(
            "deliveries a second, 1,000 streams x 800/s offered",
            cells(medians, lambda values: f"{values['per_s']:,.0f}"),
            ">= 5x nchan, >= 15x sse-starlette",
            both(nchan, starlette),
        ),
        Row(
            "latency p99, 1,000 streams x 800/s offered",
            cells(medians, lambda values: f"{values['p99_ms']:,.0f} ms"),
            f"<= {P99_MS} ms",
            at_most(ours(medians, "p99_ms"), P99_MS),
        ),
    ]


FIGURE = Figure("saturation", __doc__ or "", (Ours, Nchan, Starlette, FlaskSse), measure, rows)

"""1,000 streams at 20 events a second: what a delivery costs, and how long it takes from the publisher to a client."""

from bench import load
from bench.figure import Figure, Medians, Reading, Row, at_least, at_most, both, cells, ratio
from bench.load import Load
from bench.peers.flask_sse import FlaskSse
from bench.peers.nchan import Nchan
from bench.peers.ours import Ours
from bench.peers.server import Server
from bench.peers.starlette import Starlette

STREAMS = 1_000
RATE = 20


def measure(server: Server, quick: bool) -> Reading:
    with server.client() as client, server.publisher() as publisher:
        server.open(client, publisher, STREAMS)
        before = client.status().lost
        cost = load.run(server, client, publisher, Load(RATE, 2 if quick else 15))
        values = {
            "deliveries_per_cpu_s": cost.deliveries_per_cpu_s,
            "p50_ms": cost.window.p50_ms,
            "p99_ms": cost.window.p99_ms,
            "lost": load.lost(client, publisher) - before,
        }
        return Reading(values, client.windows)


def rows(medians: Medians) -> list[Row]:
    nchan = at_least(ratio(medians, "deliveries_per_cpu_s", "nchan"), 1)
    starlette = at_least(ratio(medians, "deliveries_per_cpu_s", "sse-starlette"), 4)
    return [
        Row(
            "deliveries a CPU-second, 1,000 streams x 20/s",
            cells(medians, lambda values: f"{values['deliveries_per_cpu_s']:,.0f}"),
            ">= nchan, >= 4x sse-starlette",
            both(nchan, starlette),
        ),
        Row(
            "latency p50 / p99, 1,000 streams x 20/s",
            cells(medians, lambda values: f"{values['p50_ms']:.1f} / {values['p99_ms']:.1f} ms"),
            "p99 <= 1.5x nchan",
            at_most(ratio(medians, "p99_ms", "nchan"), 1.5),
        ),
    ]


FIGURE = Figure("fan-out", __doc__ or "", (Ours, Nchan, Starlette, FlaskSse), measure, rows)

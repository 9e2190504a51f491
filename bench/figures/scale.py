"""The cost of a delivery with 10,000 streams against 100, at the same 5 events a second in single batches."""

from bench import load
from bench.figure import Figure, Medians, Reading, Row, at_most, cells, ours
from bench.load import Load
from bench.peers.nchan import Nchan
from bench.peers.ours import Ours
from bench.peers.server import Server

FEW, MANY = 100, 10_000
RATE = 5
EVERY_S = 0.2
AIM = 1.8


def measure(server: Server, quick: bool) -> Reading:
    many = MANY // 10 if quick else MANY
    work = Load(RATE, 3 if quick else 15, every_s=EVERY_S)
    with server.client() as client, server.publisher() as publisher:
        server.open(client, publisher, FEW)
        few = load.run(server, client, publisher, work)
        skipped = publisher.last * (many - FEW)  # those who come now begin in the middle of the numbers
        server.open(client, publisher, many - FEW)
        more = load.run(server, client, publisher, work)
        values = {
            "few_us": few.us_a_delivery,
            "many_us": more.us_a_delivery,
            "ratio": more.us_a_delivery / few.us_a_delivery,
            "lost": load.lost(client, publisher) - skipped,
        }
        return Reading(values, client.windows)


def rows(medians: Medians) -> list[Row]:
    limit = max(AIM, medians.get("nchan", {}).get("ratio", 0))
    return [
        Row(
            "CPU a delivery, 100 -> 10,000 streams",
            cells(medians, lambda v: f"{v['few_us']:.1f} -> {v['many_us']:.1f} us ({v['ratio']:.2f}x)"),
            "<= 1.8x, or nchan's",
            at_most(ours(medians, "ratio"), limit),
        )
    ]


FIGURE = Figure("scale", __doc__ or "", (Ours, Nchan), measure, rows)

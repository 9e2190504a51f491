"""50 of 1,000 readers stop reading for 30 s: what the others notice, and whether the 50 end up with every event.

They have small receive buffers and the events are large, so that what waits for them passes all that the kernel holds
and the server has to decide.
"""

from bench import load
from bench.figure import Figure, Medians, Reading, Row, at_most, cells, ours
from bench.load import Load
from bench.peers.ours import Ours
from bench.peers.server import Server

STREAMS, STALLED = 1_000, 50
RATE, SIZE = 100, 1_000
BUFFER = 4_096
WITHIN_S = 60.0
AIM = 1.25


def measure(server: Server, quick: bool) -> Reading:
    work = Load(RATE, 3 if quick else 30, size=SIZE)
    with server.client() as client, server.publisher() as publisher:
        client.small_buffers(STALLED, BUFFER)
        server.open(client, publisher, STREAMS)
        client.reconnect()
        calm = load.run(server, client, publisher, work)
        client.stall(STALLED)
        disturbed = load.run(server, client, publisher, work)
        client.read_again()
        found = client.wait(publisher.last, WITHIN_S)
        values = {
            "calm_ms": calm.window.p99_ms,
            "disturbed_ms": disturbed.window.p99_ms,
            "ratio": disturbed.window.p99_ms / calm.window.p99_ms,
            "closed": found.closed,  # by the server, because they did not read
            "lost": found.lost + found.repeated + STREAMS - found.complete,
        }
        return Reading(values, client.windows)


def rows(medians: Medians) -> list[Row]:
    return [
        Row(
            "p99 of 950 while 50 others stall",
            cells(medians, lambda v: f"{v['calm_ms']:.1f} -> {v['disturbed_ms']:.1f} ms ({v['ratio']:.2f}x)"),
            f"<= {AIM}x, none lost",
            at_most(ours(medians, "ratio"), AIM) and not medians["ours"]["lost"],
        )
    ]


FIGURE = Figure("stalled", __doc__ or "", (Ours,), measure, rows)

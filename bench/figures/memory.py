"""What 10,000 idle streams add to the worker's memory (PSS; nginx's shared memory included as far as it is touched)."""

import time

from bench.figure import Figure, Medians, Reading, Row, at_most, cells, ours
from bench.peers.nchan import Nchan
from bench.peers.ours import Ours
from bench.peers.server import Server
from bench.processes import pss_bytes

FIRST = 10  # what a server builds for its first streams is not a stream's price
STREAMS = 10_000
SETTLE_S = 2.0
AIM_KB = 3.0


def measure(server: Server, quick: bool) -> Reading:
    count = STREAMS // 10 if quick else STREAMS
    with server.client() as client, server.publisher() as publisher:
        server.open(client, publisher, FIRST)
        publisher.publish(20)
        time.sleep(SETTLE_S)
        before = pss_bytes(server.worker)
        server.open(client, publisher, count - FIRST)
        time.sleep(SETTLE_S)
        added = pss_bytes(server.worker) - before
        return Reading({"kb_a_stream": added / (count - FIRST) / 1000}, client.windows)


def rows(medians: Medians) -> list[Row]:
    return [
        Row(
            "worker's memory a stream, 10,000 idle",
            cells(medians, lambda values: f"{values['kb_a_stream']:.1f} kB"),
            f"<= {AIM_KB:.0f} kB",
            at_most(ours(medians, "kb_a_stream"), AIM_KB),
        )
    ]


FIGURE = Figure("memory", __doc__ or "", (Ours, Nchan), measure, rows)

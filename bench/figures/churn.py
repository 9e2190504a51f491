"""What a client that connects, reads its first frame and goes costs the worker while 8,000 streams are open.

What the open streams cost by themselves, measured just before, is taken off.
"""

import time

from bench.figure import Figure, Medians, Reading, Row, Values, at_most, cells, ours
from bench.peers.ours import Ours
from bench.peers.server import Server
from bench.processes import cpu_s

STREAMS, CYCLES = 8_000, 2_000
SETTLE_S = 2.0
AIM_MS = 2.0


def measure(server: Server, quick: bool) -> Reading:
    streams, cycles = (STREAMS // 10, CYCLES // 10) if quick else (STREAMS, CYCLES)
    idle_s = 3 if quick else 15
    with server.client() as client, server.publisher() as publisher:
        server.open(client, publisher, streams)
        time.sleep(SETTLE_S)
        before = cpu_s(server.worker)
        time.sleep(idle_s)
        idle = (cpu_s(server.worker) - before) / idle_s
        before, began = cpu_s(server.worker), time.monotonic()
        done, failed, _ = client.churn(cycles)
        time.sleep(SETTLE_S)  # the last ones are still being cleared away
        used = cpu_s(server.worker) - before - idle * (time.monotonic() - began)
        return Reading({"ms_a_cycle": used / max(1, done) * 1000, "failed": failed}, client.windows)


def rows(medians: Medians) -> list[Row]:
    return [
        Row(
            "CPU of a connect and close, 8,000 streams open",
            cells(medians, _cell),
            f"<= {AIM_MS:.0f} ms",
            at_most(ours(medians, "ms_a_cycle"), AIM_MS),
        )
    ]


def _cell(values: Values) -> str:
    failed = f" ({values['failed']:.0f} failed)" if values["failed"] else ""
    return f"{values['ms_a_cycle']:.2f} ms{failed}"


FIGURE = Figure("churn", __doc__ or "", (Ours,), measure, rows)

"""SIGKILL to all of Beacon, events appended meanwhile, a restart: until 5,000 clients are back with nothing lost.

The seconds count from the start of the new master, so they include its boot. Clients that are refused, or whose stream
ends, try again every 100 ms (50 to 150) with their cursor.
"""

import threading
import time

from bench.figure import Figure, Medians, Reading, Row, at_most, cells, ours
from bench.peers.ours import Ours
from bench.peers.server import Server

STREAMS = 5_000
BEFORE, MEANWHILE = 20, 100
DOWN_S = 1.0
WITHIN_S = 60.0
AIM_S = 8.0


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)
    count = STREAMS // 10 if quick else STREAMS
    with server.client() as client, server.publisher() as publisher, server.inserter() as inserter:
        server.open(client, publisher, count)
        publisher.publish(BEFORE)
        client.wait(publisher.last, WITHIN_S)
        client.reconnect()
        server.beacon.kill()
        inserter.last = publisher.last
        inserter.publish(MEANWHILE)
        time.sleep(DOWN_S)
        began = time.monotonic()
        starting = threading.Thread(target=server.start)
        starting.start()
        found = client.wait(inserter.last, WITHIN_S)
        seconds = time.monotonic() - began
        starting.join()
        lost = found.lost + found.repeated + count - found.complete
        return Reading({"seconds": seconds, "refused": found.refused, "lost": lost}, client.windows)


def rows(medians: Medians) -> list[Row]:
    return [
        Row(
            "5,000 clients resumed after SIGKILL and restart",
            cells(medians, lambda values: f"{values['seconds']:.1f} s"),
            f"<= {AIM_S:.0f} s, none lost",
            at_most(ours(medians, "seconds"), AIM_S) and not medians["ours"]["lost"],
        )
    ]


FIGURE = Figure("resume", __doc__ or "", (Ours,), measure, rows)

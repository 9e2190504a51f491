"""200 services of 500 jobs, polled every 5 s by one worker: its CPU."""

import time

from bench.figure import Figure, Medians, Reading, Row, at_most, cells, ours
from bench.figures.reconcile import Watching
from bench.peers.server import Server
from bench.processes import cpu_s

SETTLE_S = 5.0
AIM_PERCENT = 30.0


class Fleet(Watching):
    jobs, services = 500, 200


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Fleet)
    server.watch()
    time.sleep(SETTLE_S)
    polls, before, began = server.polls(), cpu_s(server.worker), time.monotonic()
    time.sleep(10 if quick else 30)
    used, seconds = cpu_s(server.worker) - before, time.monotonic() - began
    return Reading({"percent": used / seconds * 100, "polls_per_s": (server.polls() - polls) / seconds}, ())


def rows(medians: Medians) -> list[Row]:
    return [
        Row(
            "worker's CPU, 200 services x 500 jobs every 5 s",
            cells(medians, lambda v: f"{v['percent']:.1f} % ({v['polls_per_s']:.0f} polls/s)"),
            f"< {AIM_PERCENT:.0f} % of a core",
            at_most(ours(medians, "percent"), AIM_PERCENT),
        )
    ]


FIGURE = Figure("fleet", __doc__ or "", (Fleet,), measure, rows)

"""200 services of 500 jobs, and 100,000 jobs that wait in 20 queues of RQ, polled every 5 s by one worker: its CPU."""

import time

from bench.figure import Figure, Medians, Reading, Row, at_most, cells, ours
from bench.peers.server import Server
from bench.rq_polling import measure_rq, rq_rows
from bench.watching import JOBS, WatchingHttp, WatchingRq

SETTLE_S = 5.0
AIM_PERCENT = 30.0


class Fleet(WatchingHttp):
    jobs, services = 500, 200


class Queues(WatchingRq):
    jobs, services = JOBS // 20, 20


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Fleet)
    server.watch()
    time.sleep(SETTLE_S)
    values = server.cost_of_polls(10 if quick else 30)
    server.stop()  # two Beacons would compete for the cores
    return Reading(values | measure_rq(Queues, server.folder / "rq", quick), ())


def rows(medians: Medians) -> list[Row]:
    return [
        Row(
            "worker's CPU, 200 services x 500 jobs every 5 s",
            cells(medians, lambda v: f"{v['percent']:.1f} % ({v['polls_per_s']:.0f} polls/s)"),
            f"< {AIM_PERCENT:.0f} % of a core",
            at_most(ours(medians, "percent"), AIM_PERCENT),
        ),
        *rq_rows(medians, f"{Queues.services} queues of RQ x {Queues.jobs:,} waiting jobs"),
    ]


FIGURE = Figure("fleet", __doc__ or "", (Fleet,), measure, rows)

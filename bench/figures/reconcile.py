"""100,000 jobs of one service: what judging them costs, and what others feel of a server that polls them."""

import json
import subprocess

from bench.figure import Figure, Medians, Reading, Row, at_most, cells, ours
from bench.peers.ours import VENV_PYTHON
from bench.peers.server import ROOT, Server
from bench.responsiveness import Responsiveness, in_words
from bench.rq_polling import measure_rq, rq_rows
from bench.watching import JOBS, WatchingHttp, WatchingRq

SIZES = (JOBS, 300_000, 1_000_000)


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, WatchingHttp)
    values = judged(SIZES[:1] if quick else SIZES)
    felt = Responsiveness(server, quick)
    values |= felt.measure("alone")
    server.watch()
    values |= felt.measure("beside")
    server.stop()  # two Beacons would compete for the cores
    return Reading(values | measure_rq(WatchingRq, server.folder / "rq", quick), ())


def judged(sizes: tuple[int, ...]) -> dict[str, float]:
    """In a process of its own."""
    command = [VENV_PYTHON, "-m", "bench.reconciling", *map(str, sizes)]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    values = {}
    for line in map(json.loads, lines):
        values[f"cpu_{line['jobs']}"] = line["cpu_ms"]
    return values


def rows(medians: Medians) -> list[Row]:
    sizes = [size for size in SIZES if ours(medians, f"cpu_{size}") is not None]
    return [
        Row(
            "CPU, " + ", ".join(f"{size:,}" for size in sizes) + " jobs reconciled",
            cells(medians, lambda v: ", ".join(f"{v[f'cpu_{size}']:.0f} ms" for size in sizes)),
            "< 250 ms at 100,000, linear",
            at_most(ours(medians, f"cpu_{JOBS}"), 250),
        ),
        Row(
            "p99 of a page / how late a heartbeat is, without -> beside polls of 100,000 jobs",
            cells(medians, in_words),
            "(printed)",
            None,
        ),
        *rq_rows(medians, f"{JOBS:,} jobs that wait in RQ"),
    ]


FIGURE = Figure("reconcile", __doc__ or "", (WatchingHttp,), measure, rows)

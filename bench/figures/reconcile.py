"""100,000 jobs of one service: what judging them costs, and what others feel of a server that polls them."""

import json
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.figure import Figure, Medians, Reading, Row, at_most, both, cells, ours
from bench.peers.ours import VENV_PYTHON
from bench.peers.server import ROOT, Server
from bench.responsiveness import Responsiveness, in_words
from bench.rq_polling import measure_rq, rq_rows
from bench.running import running_service
from bench.watching import JOBS, WatchingHttp, WatchingRq

SIZES = (JOBS, 300_000, 1_000_000)
FEW = 10
PHASES = ("first", "steady", "lost", "after")


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, WatchingHttp)
    values = judged(SIZES[:1] if quick else SIZES) | held()
    felt = Responsiveness(server, quick)
    values |= felt.measure("alone")
    server.watch()
    values |= felt.measure("beside")
    server.stop()  # two Beacons would compete for the cores
    return Reading(values | measure_rq(WatchingRq, server.folder / "rq", quick), ())


def judged(sizes: tuple[int, ...]) -> dict[str, float]:
    """In a process of its own, with nobody else on its loop."""
    command = [VENV_PYTHON, "-m", "bench.reconciling", *map(str, sizes)]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    values = {}
    for line in map(json.loads, lines):
        values[f"cpu_{line['jobs']}"], values[f"slice_{line['jobs']}"] = line["cpu_ms"], line["slice_ms"]
    return values


def held() -> dict[str, float]:
    """The longest turn of the loop, by what a whole look at all the jobs meets; the best of several where it recurs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = [stack.enter_context(running_service(folder, jobs)) for jobs in (JOBS, FEW)]
        command = [VENV_PYTHON, "-m", "bench.observing", str(folder), *urls]
        lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    best: dict[str, float] = {}
    for line in map(json.loads, lines):
        name = f"held_{line['phase']}"
        best[name] = min(line["held"], best.get(name, line["held"]))
    return best


def rows(medians: Medians) -> list[Row]:
    first = both(at_most(ours(medians, f"cpu_{JOBS}"), 250), at_most(ours(medians, f"slice_{JOBS}"), 10))
    sizes = [size for size in SIZES if ours(medians, f"cpu_{size}") is not None]
    return [
        Row(
            "CPU and longest slice, " + ", ".join(f"{size:,}" for size in sizes) + " jobs reconciled",
            cells(
                medians,
                lambda v: ", ".join(f"{v[f'cpu_{size}']:.0f} ms ({v[f'slice_{size}']:.1f})" for size in sizes),
            ),
            "< 250 ms (10) at 100,000, linear",
            first,
        ),
        Row(
            "longest turn of the loop in a look at 100,000 jobs: first / nothing new / all lost / lost before",
            cells(medians, lambda v: " / ".join(f"{v[f'held_{phase}']:.1f}" for phase in PHASES) + " ms"),
            "< 10 ms where nothing is new",
            both(at_most(ours(medians, "held_steady"), 10), at_most(ours(medians, "held_after"), 10)),
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

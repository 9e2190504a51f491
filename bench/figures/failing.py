"""Polls of an RQ with 100,000 waiting jobs of which 10,000 more fail at once: reading why, and what it costs later."""

import json
import subprocess

from bench.figure import Figure, Medians, Reading, Row, Values, at_most, both, cells, ours
from bench.peers.ours import VENV_PYTHON, Ours
from bench.peers.server import ROOT, Server

WAITING, FAILED = 100_000, 10_000
AIM_RATIO, AIM_POLL_S, AIM_READ_S = 1.2, 5, 120


def measure(_server: Server, quick: bool) -> Reading:
    """The server only gives the run its place: the polls are in a process of their own."""
    sizes = (WAITING // 10, FAILED // 10) if quick else (WAITING, FAILED)
    command = [VENV_PYTHON, "-m", "bench.failure_polls", *map(str, sizes)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return Reading(json.loads(done.stdout.splitlines()[-1]), ())


def rows(medians: Medians) -> list[Row]:
    def show_reading(values: Values) -> str:
        longest, total = values["longest_s"], values["read_s"]
        return f"{longest:.1f} s, all read after {total:.0f} s ({values['polls']:.0f} polls)"

    return [
        Row(
            f"poll of {WAITING:,} waiting and {FAILED:,} failed jobs of RQ with the facts of failures, and without",
            cells(medians, lambda v: f"{v['ratio']:.2f}x ({v['facts_ms']:.0f} and {v['plain_ms']:.0f} ms of CPU)"),
            f"<= {AIM_RATIO}x",
            at_most(ours(medians, "ratio"), AIM_RATIO),
        ),
        Row(
            f"longest poll while {FAILED:,} new failures are read",
            cells(medians, show_reading),
            f"<= {AIM_POLL_S} s (the interval), all <= {AIM_READ_S} s",
            both(at_most(ours(medians, "longest_s"), AIM_POLL_S), at_most(ours(medians, "read_s"), AIM_READ_S)),
        ),
    ]


FIGURE = Figure("failing", __doc__ or "", (Ours,), measure, rows, runs=1)

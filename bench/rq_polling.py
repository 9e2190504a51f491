"""Polls of jobs that wait in RQ, in one queue or in many: the worker's CPU, and what others feel of them."""

from pathlib import Path

from bench.figure import Medians, Row, at_most, cells, ours
from bench.responsiveness import Responsiveness, in_words
from bench.watching import WatchingRq

AIM_PERCENT = 15.0


def measure_rq(kind: type[WatchingRq], folder: Path, quick: bool) -> dict[str, float]:
    """On a Beacon of its own. The CPU is measured right after the first look, while jobs are still asked for how long
    RQ keeps them: later it is less."""
    with kind(folder) as server:
        felt = Responsiveness(server, quick)
        values = felt.measure("alone")
        server.watch()
        values |= server.cost_of_polls(10 if quick else 30)
        values |= felt.measure("beside")
    return {f"rq_{name}": value for name, value in values.items()}


def rq_rows(medians: Medians, jobs: str) -> list[Row]:
    """`jobs`: how many wait, and where."""
    return [
        Row(
            f"worker's CPU, {jobs}, every 5 s",
            cells(medians, lambda v: f"{v['rq_percent']:.1f} % ({v['rq_polls_per_s']:.1f} polls/s)"),
            f"<= {AIM_PERCENT:.0f} % of a core",
            at_most(ours(medians, "rq_percent"), AIM_PERCENT),
        ),
        Row(
            f"p99 of a page / how late a heartbeat is, without -> beside polls of {jobs}",
            cells(medians, lambda v: in_words(v, "rq_")),
            "(printed)",
            None,
        ),
    ]

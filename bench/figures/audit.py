"""The audit with 5,000,000 entries against 5,000: pages, any filters, the loop's lag meanwhile, verify, export."""

import json
import subprocess
from typing import Any

from bench.audit_chain import kept
from bench.figure import Figure, Medians, Reading, Row, at_least, at_most, both, cells, ours
from bench.peers.ours import VENV_PYTHON, Ours
from bench.peers.server import ROOT, Server

FEW, MANY = 5_000, 5_000_000
QUICK = 300_000


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)  # it only gives the run its place: pages are read in a process of their own
    few, many = (_read(count) for count in (FEW, QUICK if quick else MANY))
    ratios = [many["pages"][name] / few["pages"][name] for name in few["pages"]]
    values = {
        "ratio": max(ratios),
        "slowest_ms": max(many["filters"].values()),
        "lag_ms": many["lag_ms"],
        "verified_per_s": many["verified_per_s"],
        "export_mb": many["export_mb"],
    }
    return Reading(values, ())


def _read(count: int) -> dict[str, Any]:
    command = [VENV_PYTHON, "-m", "bench.audit_reading", str(kept(count))]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows(medians: Medians) -> list[Row]:
    pages = both(
        at_most(ours(medians, "ratio"), 3),
        at_most(ours(medians, "slowest_ms"), 2_000),
        at_most(ours(medians, "lag_ms"), 50),
    )
    return [
        Row(
            "audit, 5,000,000 entries to 5,000: pages; slowest filters; loop's lag",
            cells(medians, lambda v: f"{v['ratio']:.1f}x; {v['slowest_ms']:.0f} ms; {v['lag_ms']:.0f} ms"),
            "<= 3x; 2,000 ms; 50 ms",
            pages,
        ),
        Row(
            "audit verified; memory that an export adds",
            cells(medians, lambda v: f"{v['verified_per_s']:,.0f}/s; {v['export_mb']:.0f} MB"),
            ">= 150,000/s; flat",
            at_least(ours(medians, "verified_per_s"), 150_000),
        ),
    ]


FIGURE = Figure("audit", __doc__ or "", (Ours,), measure, rows, runs=1)

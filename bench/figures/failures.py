"""The page and the JSON of failures by cause, with 100,000 failed jobs in 200 groups."""

import time

import requests

from bench.failed_jobs import seed
from bench.figure import Figure, Medians, Reading, Row, Values, at_most, cells, ours, quantile
from bench.peers.ours import Ours
from bench.peers.server import Server
from bench.processes import cpu_s

JOBS, CAUSES = 100_000, 200
LOADS = 100
WARM_LOADS = 3  # the first ones compile templates
PAUSE_S = 0.05
AIM_MS = 150
# What is measured, and what its reader accepts.
SHAPES = {"page": "text/html", "JSON": "application/json"}


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)
    seed(server.beacon, JOBS // 10 if quick else JOBS, CAUSES)
    browser, loads = server.beacon.log_in("alice"), LOADS // 5 if quick else LOADS
    values: dict[str, float] = {}
    for name, accepts in SHAPES.items():
        for _ in range(WARM_LOADS):
            _load_ms(browser, server.beacon.url, accepts)
        cpu = cpu_s(server.worker)
        taken = [_load_ms(browser, server.beacon.url, accepts) for _ in range(loads)]
        values |= {f"{name}_p50_ms": quantile(taken, 0.5), f"{name}_p95_ms": quantile(taken, 0.95)}
        values[f"{name}_cpu_ms"] = (cpu_s(server.worker) - cpu) / loads * 1000
    return Reading(values, ())


def _load_ms(browser: requests.Session, url: str, accepts: str) -> float:
    time.sleep(PAUSE_S)
    began = time.perf_counter()
    browser.get(f"{url}/failures", headers={"Accept": accepts}, timeout=30).raise_for_status()
    return (time.perf_counter() - began) * 1000


def rows(medians: Medians) -> list[Row]:
    return [_row(medians, name) for name in SHAPES]


def _row(medians: Medians, name: str) -> Row:
    def show(values: Values) -> str:
        p50, p95, cpu = (values[f"{name}_{each}_ms"] for each in ("p50", "p95", "cpu"))
        return f"{p50:.0f} / {p95:.0f} ms ({cpu:.0f} ms of CPU)"

    return Row(
        f"{name} of {JOBS:,} failed jobs in {CAUSES} groups, p50 / p95",
        cells(medians, show),
        f"p95 <= {AIM_MS} ms",
        at_most(ours(medians, f"{name}_p95_ms"), AIM_MS),
    )


FIGURE = Figure("failures", __doc__ or "", (Ours,), measure, rows, runs=1)

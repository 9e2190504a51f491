"""100,000 jobs of one service: what judging them costs, and what others feel of a server that polls them."""

import json
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import requests
import sqlalchemy as sa

from app.db import read, write
from app.reconciliation import registry
from app.reconciliation.models import CheckSample
from bench.figure import Figure, Medians, Reading, Row, Values, at_most, both, cells, ours, quantile
from bench.figures.page import p99_ms
from bench.peers.ours import VENV_PYTHON, Ours
from bench.peers.server import ROOT, Server
from bench.running import running_service
from tests.support.ports import free_port

JOBS = 100_000
SIZES = (JOBS, 300_000, 1_000_000)
HEARTBEAT_S = 1.0
LOADS = 200
WARM_WITHIN_S = 60.0  # the first look writes all of them
STREAMS = 20
FEW = 10
PHASES = ("first", "steady", "lost", "after")


class Watching(Ours):
    """Beacon beside a service of 100,000 jobs, all of them listed."""

    jobs, services = JOBS, 1
    settings: ClassVar[dict[str, Any]] = {
        **Ours.settings,
        "HEARTBEAT_S": HEARTBEAT_S,
        "POLL_INTERVAL_S": 5,
        "JOB_LIST_BOUND": 2 * JOBS,
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.upstream = free_port()

    def start(self) -> None:
        command = [VENV_PYTHON, "-m", "bench.job_service", str(self.upstream), str(self.jobs)]
        self.upstream_pid = self._spawn(command, self.upstream, PYTHONPATH=str(ROOT))
        super().start()

    def watch(self) -> None:
        """Register all services, and wait until each was polled."""
        with self.beacon.app.app_context(), write() as session:
            for n in range(self.services):
                url = f"http://127.0.0.1:{self.upstream}/{n}"
                registry.add(session, id=f"s{n}", name=f"Service {n}", kind="palantir", url=url)
        deadline = time.monotonic() + WARM_WITHIN_S
        while (polled := self._polled()) < self.services:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{polled} of {self.services} services were polled within {WARM_WITHIN_S:.0f} s")
            time.sleep(0.5)

    def polls(self) -> int:
        """How many were recorded so far."""
        return self._count(sa.func.count())

    def _polled(self) -> int:
        return self._count(sa.func.count(CheckSample.service_id.distinct()))

    def _count(self, what: sa.Function[int]) -> int:
        with self.beacon.app.app_context(), read() as session:
            return session.scalar(sa.select(what).select_from(CheckSample)) or 0

    def stop(self) -> None:
        super().stop()
        Server.stop(self)


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Watching)
    values = judged(SIZES[:1] if quick else SIZES) | held()
    browser = server.beacon.log_in("alice")
    beats = [Beats(server) for _ in range(STREAMS)]
    loads = LOADS // 5 if quick else LOADS
    values |= felt(server, browser, beats, loads, "alone")
    server.watch()
    values |= felt(server, browser, beats, loads, "beside")
    return Reading(values, ())


def felt(server: Watching, browser: requests.Session, beats: list["Beats"], loads: int, when: str) -> dict[str, float]:
    """By somebody who reads pages, and by streams that hear a heartbeat a second."""
    for one in beats:
        one.begin()
    page_ms = p99_ms(browser, server.beacon.url, loads)
    late = [gap for one in beats for gap in one.late_s()]
    return {f"page_{when}_ms": page_ms, f"beat_{when}_ms": quantile(late, 0.99) * 1000}


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


class Beats:
    """One stream whose heartbeats are timed."""

    def __init__(self, server: Watching) -> None:
        token = server.beacon.token("alice", "stream")
        self._answer = requests.get(
            f"{server.beacon.url}{server.path}",
            headers={"Authorization": f"Bearer {token}"},
            stream=True,
            timeout=30,
        )
        self._at: list[float] = []
        threading.Thread(target=self._read, daemon=True).start()

    def begin(self) -> None:
        self._at = []

    def late_s(self) -> list[float]:
        """How far the time between each two heartbeats was from what it should be."""
        heard = list(self._at)
        return [abs(late - early - HEARTBEAT_S) for early, late in pairwise(heard)]

    def _read(self) -> None:
        for line in self._answer.iter_lines(chunk_size=1):
            if line == b"event: heartbeat":
                self._at.append(time.monotonic())


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
            cells(medians, _felt),
            "(printed)",
            None,
        ),
    ]


def _felt(v: Values) -> str:
    pages = f"{v['page_alone_ms']:.0f} -> {v['page_beside_ms']:.0f} ms"
    return f"{pages} / {v['beat_alone_ms']:.0f} -> {v['beat_beside_ms']:.0f} ms"


FIGURE = Figure("reconcile", __doc__ or "", (Watching,), measure, rows)

"""Beacon beside services that it polls: their servers are started with it, and what the polls cost it is measured."""

import time
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa

from app.db import read, write
from app.reconciliation import registry
from app.reconciliation.models import CheckSample, KnownJob
from bench.peers.ours import VENV_PYTHON, Ours
from bench.peers.server import ROOT, Server
from bench.processes import cpu_s
from bench.valkey import find_valkey, valkey_command
from bench.waiting_jobs import enqueue_jobs
from tests.support.ports import free_port
from tests.support.waiting import wait_for

JOBS = 100_000
HEARTBEAT_S = 1.0
WARM_WITHIN_S = 60.0  # the first look writes all of them


class Watching(Ours):
    """`services` services with `jobs` jobs each, all of them listed."""

    jobs: ClassVar[int] = JOBS
    services: ClassVar[int] = 1
    settings: ClassVar[dict[str, Any]] = {**Ours.settings, "HEARTBEAT_S": HEARTBEAT_S, "POLL_INTERVAL_S": 5}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.upstream = free_port()

    def start(self) -> None:
        self.start_upstream()
        super().start()

    def stop(self) -> None:
        try:
            super().stop()
        finally:
            Server.stop(self)

    @abstractmethod
    def start_upstream(self) -> None:
        """Start what is polled, on the port `upstream`."""

    @abstractmethod
    def entries(self) -> Iterable[dict[str, Any]]:
        """What to register as services."""

    def watch(self) -> None:
        """Register all services, and wait until each was polled and all of its jobs are known by their ids."""
        with self.beacon.app.app_context(), write() as session:
            for entry in self.entries():
                registry.add(session, **entry)
        services = CheckSample.service_id.distinct()
        wait_for(lambda: self._count(services) == self.services, "every service to be polled", WARM_WITHIN_S)
        known, jobs = self._count(KnownJob.job_id), self.jobs * self.services
        if known != jobs:
            raise RuntimeError(f"{known:,} of {jobs:,} jobs are compared one by one")

    def polls(self) -> int:
        """How many were recorded so far."""
        return self._count(CheckSample.id)

    def cost_of_polls(self, seconds: float) -> dict[str, float]:
        """Both workers' CPU, from one poll to another at least so much later: polls are few, and none is cut."""
        polls = self._wait_for_poll()
        before, began = cpu_s(self.worker, self.background), time.monotonic()
        time.sleep(seconds)
        polls = self._wait_for_poll() - polls
        used, passed_s = cpu_s(self.worker, self.background) - before, time.monotonic() - began
        return {"percent": used / passed_s * 100, "polls_per_s": polls / passed_s}

    def _wait_for_poll(self) -> int:
        polls = self.polls()
        wait_for(lambda: self.polls() > polls, "another poll", WARM_WITHIN_S, every_s=0.1)
        return self.polls()

    def _count(self, what: Any) -> int:
        with self.beacon.app.app_context(), read() as session:
            return session.scalar(sa.select(sa.func.count(what))) or 0


class WatchingHttp(Watching):
    """Palantir services in one process that costs next to nothing."""

    settings: ClassVar[dict[str, Any]] = {**Watching.settings, "JOB_LIST_BOUND": 2 * JOBS}

    def start_upstream(self) -> None:
        command = [VENV_PYTHON, "-m", "bench.job_service", str(self.upstream), str(self.jobs)]
        self._spawn(command, self.upstream, PYTHONPATH=str(ROOT))

    def entries(self) -> Iterable[dict[str, Any]]:
        for n in range(self.services):
            url = f"http://127.0.0.1:{self.upstream}/{n}"
            yield {"id": f"s{n}", "name": f"Service {n}", "kind": "palantir", "url": url}


class WatchingRq(Watching):
    """A queue of RQ for each service, all of them in one Valkey; Beacon's bound on jobs is as it ships."""

    def start_upstream(self) -> None:
        server = find_valkey(ROOT / ".venv")
        self._spawn(valkey_command(server, self.upstream, self.folder), self.upstream)
        enqueue_jobs(self.url, map(self._queue, range(self.services)), self.jobs)

    def entries(self) -> Iterable[dict[str, Any]]:
        for n in range(self.services):
            named = {"id": f"q{n}", "name": f"Queue {n}"}
            yield {**named, "kind": "rq", "url": self.url, "queues": [self._queue(n)]}

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.upstream}/0"

    def _queue(self, number: int) -> str:
        return f"queue{number}"

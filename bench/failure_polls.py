"""`python -m bench.failure_polls WAITING FAILED`: polls of a real RQ on Valkey whose jobs fail all at once.

Prints JSON: the polls until all failures are read, then the CPU of a poll with the facts of failures and without. In
this process, with a real log in SQLite: what else a worker does at the same time would be measured with it.
"""

import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app import create_app
from app.config import Settings
from app.db import db, read, write
from app.failures import failure_store
from app.failures.tracker import FailureTracker
from app.infra import database_upgrade
from app.infra.lease import Lease
from app.reconciliation import registry
from app.reconciliation.explanations import EventExplainer
from app.reconciliation.observer import CheckFollower, ServiceObserver, WatchedService
from bench.failing_rq import fail_jobs, hide_failed, show_failed
from bench.peers.server import ROOT
from bench.processes import end, start, wait_for_port
from bench.valkey import find_valkey, valkey_command
from bench.waiting_jobs import enqueue_jobs
from tests.support.ports import free_port

INTERVAL_S = 5.0
CAUSES = 50
QUEUE = "mail"
# Polls of each kind, in turns.
TURNS = 15
# Until RQ was asked of each waiting job how long it is kept, polls cost more.
WARM_POLLS = 22
SPARE_JOBS = 10_000
LEASE_S = 3_600.0
MAX_POLLS = 200


class Polls:
    """Of one service, whose failures are followed or not."""

    def __init__(self, lease: Lease, service_id: str, url: str, bound: int, followers: list[CheckFollower]) -> None:
        with write() as session:
            row = registry.add(session, id=service_id, name=service_id, kind="rq", url=url, queues=[QUEUE])
        self._service = WatchedService(service_id, registry.build_source(row, bound))
        self._observer = ServiceObserver(lease, INTERVAL_S, [EventExplainer()], followers=followers)

    def poll(self) -> tuple[float, float]:
        """Seconds on the clock, and of the CPU."""
        began, cpu = time.monotonic(), time.process_time()
        if not self._observer.observe(self._service).answered:
            raise RuntimeError("the service did not answer")
        return time.monotonic() - began, time.process_time() - cpu

    def unread(self) -> int:
        with read() as session:
            return failure_store.count_unread(session, self._service.id)


def measure(waiting: int, failed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="beacon-bench-") as folder, _valkey(Path(folder)) as url, _beacon(folder):
        enqueue_jobs(url, [QUEUE], waiting)
        fail_jobs(url, QUEUE, failed, CAUSES)
        hide_failed(url, QUEUE)
        lease, bound = Lease(ttl_s=LEASE_S), waiting + failed + SPARE_JOBS
        if not lease.try_acquire():
            raise RuntimeError("the lease is taken")
        with_facts = Polls(lease, "followed", url, bound, [FailureTracker()])
        without = Polls(lease, "plain", url, bound, [])
        for _ in range(WARM_POLLS):
            with_facts.poll()
            without.poll()
        gc.collect()  # as a worker does that has started
        gc.freeze()
        show_failed(url, QUEUE)
        return _read_all(with_facts, failed) | _compare(with_facts, without)


@contextmanager
def _valkey(folder: Path) -> Iterator[str]:
    port, log = free_port(), folder / "valkey.log"
    process = start(valkey_command(find_valkey(ROOT / ".venv"), port, folder), log)
    try:
        wait_for_port(port, process, log)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        end(process)


@contextmanager
def _beacon(folder: str) -> Iterator[None]:
    settings = Settings(instance_dir=Path(folder) / "beacon", secret_key="bench")
    app = create_app(settings)
    database_upgrade.migrate_database(app, settings)
    with app.app_context():
        yield
        db.engine.dispose()


def _read_all(polls: Polls, failed: int) -> dict[str, float]:
    """Poll as the poller does, until every failed job is read."""
    began, longest, number = time.monotonic(), 0.0, 0
    while number == 0 or polls.unread():
        due = began + number * INTERVAL_S
        time.sleep(max(0.0, due - time.monotonic()))
        longest, number = max(longest, polls.poll()[0]), number + 1
        if number > MAX_POLLS:
            raise RuntimeError(f"{polls.unread():,} of {failed:,} failed jobs are not read")
    return {"polls": number, "longest_s": longest, "read_s": time.monotonic() - began}


def _compare(with_facts: Polls, without: Polls) -> dict[str, float]:
    without.poll()  # the failed jobs are new to it
    cpus = [(with_facts.poll()[1], without.poll()[1]) for _ in range(TURNS)]
    facts, plain = (statistics.median(one) * 1000 for one in zip(*cpus, strict=True))
    return {"facts_ms": facts, "plain_ms": plain, "ratio": facts / plain}


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))

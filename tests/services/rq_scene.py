"""A real Valkey with real RQ workers, for tests that break things from outside."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any, Self

from rq import Queue, SimpleWorker

from app.sources.protocol import ServiceSnapshot
from app.sources.rq import KIND
from app.sources.rq.rq_source import RqSource
from tests.services.valkey import Valkey
from tests.support.machine import scaled
from tests.support.processes import children
from tests.support.waiting import wait_for


class BurstWorker(SimpleWorker):
    """Takes no commands while it works, so it needs no thread that listens for them."""

    def subscribe(self) -> None:
        """Nothing to listen to."""

    def unsubscribe(self) -> None:
        """Nothing to leave."""


class Scene:
    """`worker` starts one, `queue` is where a test puts its jobs; both go with the block."""

    def __init__(self) -> None:
        self.valkey = Valkey()
        self._workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.valkey.start()
        # RQ keeps pickled bytes, so its own hands must not decode.
        self.redis = self.valkey.client(text=False)
        self.redis.ping()  # connected now: a scene that many tests share is not a leftover of the first
        return self

    def __exit__(self, *_: object) -> None:
        while self._workers:
            self.kill(self._workers[0])
        self.valkey.remove()

    def queue(self, name: str = "mail") -> Queue:
        return Queue(name, connection=self.redis)

    def source(self, bound: int = 10_000, **options: Any) -> RqSource:
        made = KIND.build(KIND.check_url(self.valkey.url), KIND.options(**options), bound)
        assert isinstance(made, RqSource)
        return made

    def worker(self, *queues: str, name: str = "", options: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Returns once it is registered."""
        name = name or f"worker{len(self._workers)}"
        command = [sys.executable, "-m", "rq.cli", "worker", "--url", self.valkey.url, "--name", name, "--quiet"]
        log = subprocess.DEVNULL
        process = subprocess.Popen([*command, *options, *(queues or ("mail",))], stdout=log, stderr=log)
        self._workers.append(process)
        wait_for(lambda: self.redis.exists(f"rq:worker:{name}"), "the worker to register", 60)
        return process

    def work(self, *queues: str, name: str = "burst") -> None:
        """All that waits is done by a worker of RQ in this process: it leaves the same, and starts at once."""
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
        try:
            worker = BurstWorker(list(queues or ("mail",)), name=name, connection=self.redis)
            worker.work(burst=True, logging_level="CRITICAL")
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """SIGKILL to it and to what it forked for its job, as when a machine dies."""
        # Stopped first, so that it cannot fork another one between the look and the kill.
        worker.send_signal(signal.SIGSTOP)
        for child in children(worker.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        worker.kill()
        worker.wait(scaled(20))
        self._workers.remove(worker)

    def wait_until_started(self, job_id: str) -> None:
        """The worker has noted everything that it notes at the start of a job."""
        wait_for(lambda: self.redis.hget(f"rq:job:{job_id}", "status") == b"started", f"{job_id} to start", 60)


def ids(look: ServiceSnapshot, state: str) -> list[str]:
    return next(sorted(listing.jobs) for listing in look.listings if listing.state == state)


def anomalies(look: ServiceSnapshot) -> dict[str, list[str]]:
    return {anomaly.kind: list(anomaly.job_ids) for anomaly in look.anomalies}

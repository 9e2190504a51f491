"""A real Celery beside Beacon: workers as processes of their own, a broker that tests break, and who watches it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from flask import Flask
from kombu import pools

from app import create_app
from app.config import Settings
from app.db import db, write
from app.infra.lease import Lease
from app.reconciliation import registry
from app.reconciliation.explanations import EventExplainer
from app.reconciliation.observer import ServiceObserver, WatchedService
from app.sources.celery import KIND, celery_workers, monitor, remote_control
from app.sources.celery.celery_source import CelerySource
from app.sources.celery.options import CeleryOptions
from app.sources.poller import Poller
from app.sources.protocol import ServiceAddress, ServiceSnapshot
from tests.reconciliation.desk import SERVICE, Book
from tests.services.valkey import Valkey
from tests.support.beacon_server import ROOT
from tests.support.machine import scaled
from tests.support.waiting import wait_for

INTERVAL_S = 0.25
# What the issue promises, after one interval.
WITHIN_S = 2.0
# Of a Beacon in a hurry. A slow worker has as long for its answer as it has outside the tests, and no longer.
INSPECT_EVERY_S = 0.3
ANSWER_S = min(scaled(0.5), remote_control.ANSWER_S)
TASKS = "tests.services.celery_tasks"
CONTROL = "/0.celery.pidbox"


class Fleet:
    """Celery on one broker: sends tasks, starts workers, and ends them in every way there is."""

    def __init__(self, valkey: Valkey, *, backend: bool = True, extended: bool = False) -> None:
        self.valkey, self.backend, self.extended = valkey, backend, extended
        self.redis = valkey.client(text=False)
        self._sender = Celery("sender", broker=valkey.url, set_as_current=False)
        self._workers: list[Worker] = []

    def send(self, name: str, *args: Any, **options: Any) -> str:
        """`options`: those of Celery's `apply_async`, such as `kwargs` or `countdown`."""
        return str(self._sender.send_task(f"{TASKS}.{name}", args, **options).id)

    def send_many(self, name: str, count: int, *args: Any) -> list[str]:
        return self.send_all(name, [args] * count)

    def send_all(self, name: str, calls: Sequence[tuple[Any, ...]]) -> list[str]:
        """With one connection; `calls` are the arguments of each."""
        with self._sender.connection_for_write() as connection, connection.Producer() as producer:
            return [str(self._sender.send_task(f"{TASKS}.{name}", args, producer=producer).id) for args in calls]

    def worker(self, name: str = "one", *options: str, pool: str = "prefork", concurrency: int = 1) -> "Worker":
        before = self.connected()
        made = self.start(name, *options, pool=pool, concurrency=concurrency)
        wait_for(lambda: made.process.poll() is None and self.connected() > before, "the worker to listen", 60)
        return made

    def start(self, name: str, *options: str, pool: str = "prefork", concurrency: int = 1) -> "Worker":
        """Does not wait until it listens: others can start meanwhile."""
        made = Worker(self, f"{name}@test", ["--pool", pool, "-c", str(concurrency), *options])
        self._workers.append(made)
        return made

    def connected(self) -> int:
        return int(self.redis.publish(CONTROL, ""))

    def queued(self) -> list[bytes]:
        return list(self.redis.lrange("celery", 0, -1))

    def message(self, task_id: str) -> bytes:
        return next(raw for raw in self.queued() if task_id.encode() in raw)

    def tag(self, task_id: str) -> bytes:
        return next(tag for tag, raw in self.redis.hgetall("unacked").items() if task_id.encode() in raw)

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        # Celery's own `close` forgets its connections; their sockets would stay open.
        self._sender.amqp.producer_pool.force_close_all()
        self._sender.pool.force_close_all()
        pools.reset()
        self._sender.close()


class Worker:
    def __init__(self, fleet: Fleet, name: str, options: list[str]) -> None:
        self.name = name
        environment = {
            **os.environ,
            "TEST_BROKER": fleet.valkey.url,
            "TEST_BACKEND": fleet.valkey.url if fleet.backend else "",
            "TEST_EXTENDED": "yes" if fleet.extended else "",
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(fleet.valkey.folder),  # a killed worker leaves its own folder there
        }
        command = [sys.executable, "-m", "celery", "-A", TASKS, "worker", "-n", name, "-l", "ERROR", *options]
        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=fleet.valkey.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that its children can be killed with it
        )

    def freeze(self) -> None:
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """A warm shutdown: it finishes what it runs."""
        self.process.terminate()

    def kill(self) -> None:
        """With its children, as when the machine goes."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(scaled(20))


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are asked more often, and nobody waits long for those that are silent or for the first to come.

    That nobody is called absent before a beat could have come is held by `tests/sources/celery/test_celery_workers.py`.
    """
    monkeypatch.setattr(monitor, "INSPECT_EVERY_S", INSPECT_EVERY_S)
    monkeypatch.setattr(celery_workers, "FIRST_HEARTBEAT_S", INSPECT_EVERY_S)
    monkeypatch.setattr(remote_control, "ANSWER_S", ANSWER_S)


class Recorded:
    """The source, and what it last answered: one thread uses it, another asserts."""

    def __init__(self, source: CelerySource) -> None:
        self.capabilities = source.capabilities
        self.look_up, self.detail, self.stuck, self.close = source.look_up, source.detail, source.stuck, source.close
        self._source = source
        self.last: ServiceSnapshot | None = None

    def read_snapshot(self) -> ServiceSnapshot:
        self.last = self._source.read_snapshot()
        return self.last


class Watching:
    """Beacon's own poller over one Celery service; `book` is what came to stand in the database."""

    def __init__(self, app: Flask, source: CelerySource, interval_s: float = INTERVAL_S) -> None:
        self.book, self.source, self.interval_s = Book(), Recorded(source), interval_s
        self.looks = 0
        self.took_s: list[float] = []
        lease = Lease(ttl_s=scaled(60))  # a poller would renew it
        observer = _Counting(self, lease, interval_s)
        service = WatchedService(SERVICE, self.source)
        self.poller = Poller(lease, lambda: [service], observer, interval_s, context=app.app_context, tick_s=0.1)

    @property
    def workers(self) -> dict[str, str] | None:
        """Names and states, as of the newest look."""
        workers = self.source.last.workers if self.source.last else None
        return None if workers is None else {worker.id: worker.state for worker in workers}

    def findings(self) -> dict[str, list[str]]:
        """By kind, as told last; what is merely unaccounted for, or waits for a worker, is not wrong."""
        return {found["kind"]: sorted(found["jobIds"]) for found in self.book.told.get("findings") or []}

    def wrong(self) -> dict[str, list[str]]:
        return {kind: ids for kind, ids in self.findings().items() if kind not in ("unaccounted", "no-worker")}

    def until(self, what: dict[str, list[str]], slack_s: float = 0.0) -> float:
        """How long it took, at most an interval and 2 s, until exactly this was wrong."""
        began = time.monotonic()
        limit = self.interval_s + WITHIN_S + slack_s
        wait_for(lambda: self.wrong() == what, f"{what}; told {self.book.told}", limit)
        return time.monotonic() - began

    def until_known(self, states: dict[str, str]) -> None:
        wait_for(lambda: self.book.known == states, f"{states} to be known", 20)

    def next_look(self) -> None:
        target = self.looks + 2  # one may be under way
        wait_for(lambda: self.looks >= target, "another look", 20)

    def stays_right(self, looks: int) -> None:
        """Nothing is said to be wrong during so many more looks."""
        target = self.looks + 1 + looks  # one may be under way

        def seen() -> bool:
            assert self.wrong() == {}
            return self.looks >= target

        wait_for(seen, f"{looks} more looks", looks * 5)


class _Counting(ServiceObserver):
    def __init__(self, watching: Watching, lease: Lease, interval_s: float) -> None:
        super().__init__(lease, interval_s, [EventExplainer()])
        self._watching = watching

    def observe(self, service: WatchedService) -> Any:
        began = time.monotonic()
        outcome = super().observe(service)
        self._watching.took_s.append(time.monotonic() - began)
        self._watching.looks += 1
        return outcome


@contextmanager
def application(settings: Settings) -> Iterator[Flask]:
    """On a database that is there already, with one service to watch."""
    made = create_app(settings)
    with made.app_context():
        with write() as session:
            registry.add(session, id=SERVICE, name="Mail", kind="celery", url="redis://127.0.0.1:1/0")
        yield made
        db.engine.dispose()


def source_of(valkey: Valkey, bound: int = 10_000, **options: Any) -> CelerySource:
    made = KIND.build(ServiceAddress(valkey.url), CeleryOptions(**options), bound)
    assert isinstance(made, CelerySource)
    return made


@contextmanager
def watching(
    app: Flask, valkey: Valkey, interval_s: float = INTERVAL_S, *, expect_workers: bool = True, **options: Any
) -> Iterator[Watching]:
    source = source_of(valkey, **options)
    with app.app_context():
        made = Watching(app, source, interval_s)
        made.poller.start()
        try:
            wait_for(lambda: made.looks >= 1, "the first look", 20)
            if expect_workers and options.get("inspect", True):
                wait_for(lambda: made.workers is not None, "Beacon to know which workers there are", 20)
            yield made
        finally:
            made.poller.stop()
            source.close()

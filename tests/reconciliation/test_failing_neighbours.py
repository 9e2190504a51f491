"""Services that fail or hang beside healthy ones: they must not delay the others' checks or news."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from app.db import db, read, write
from app.infra.clock import utc_text
from app.infra.lease import Lease
from app.reconciliation import build, registry
from app.reconciliation.models import CheckSample, ServiceState
from app.reconciliation.observer import MAX_LOOPS_AT_DATABASE, ServiceObserver, WatchedService
from app.sources.protocol import SourceError
from tests.reconciliation.desk import INTERVAL_S, Book, Script
from tests.sources.upstream import Upstream, upstream
from tests.support.any_service import ANY_KIND, NOWHERE
from tests.support.machine import scaled
from tests.support.waiting import wait_for

HEALTHY = [f"healthy{n}" for n in range(6)]
FAILING = [f"failing{n}" for n in range(4)]
HANGING = [f"hanging{n}" for n in range(4)]
CHECKS = 4


@pytest.fixture
def services() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


def serve(services: Upstream) -> None:
    for name in (*HEALTHY, *FAILING, *HANGING):
        base = f"/{name}/api/v1"
        services.json(f"{base}/health", {"status": "ok", "instanceId": name})
        services.json(f"{base}/jobs/counts", {"counts": {}, "revision": 1})
        services.json(f"{base}/jobs", {"jobs": []})


def break_some(services: Upstream) -> None:
    for name in FAILING:
        services.json(f"/{name}/api/v1/health", {"error": "broken"}, 500)
        services.json(f"/{name}/api/v1/jobs/counts", {"error": "broken"}, 500)
    for name in HANGING:
        for path in ("health", "jobs/counts"):
            services.answers[f"/{name}/api/v1/{path}"] = lambda _request: services.hold()


def good_checks(since: str) -> Counter[str]:
    """Checks are written a moment after they were made."""
    found = sa.select(CheckSample.service_id).where(CheckSample.ok, CheckSample.at > since)
    with read() as session:
        return Counter(session.scalars(found))


def statuses() -> dict[str, str | None]:
    with read() as session:
        return {row.service_id: row.status for row in session.scalars(sa.select(ServiceState))}


def test_healthy_services_are_checked_on_while_their_neighbours_fail_and_hang(app: Flask, services: Upstream) -> None:
    serve(services)
    settings = app.extensions["beacon"].settings
    settings.poll_interval_s = scaled(0.2)
    everyone = (*HEALTHY, *FAILING, *HANGING)
    with app.app_context():
        with write() as session:
            for name in everyone:
                registry.add(session, id=name, name=name, kind="palantir", url=f"{services.url}/{name}")
        poller = build.build_poller(app, settings)
        poller.start()
        try:
            wait_for(lambda: statuses() == dict.fromkeys(everyone, "verified"))
            break_some(services)
            wait_for(lambda: {statuses()[name] for name in FAILING} == {"stale"})
            stale_at = utc_text()
            wait_for(lambda: all(good_checks(stale_at)[name] >= CHECKS for name in HEALTHY))
            assert not good_checks(stale_at).keys() & {*FAILING, *HANGING}
            told = [event["status"] for event in Book().events() if event["service"] in HEALTHY]
            assert set(told) == {"verified"}
        finally:
            services.released.set()
            poller.stop()


def test_many_failures_at_once_leave_connections_for_the_checks_of_others(cast: Flask) -> None:
    """A failed poll takes a connection only with one of the few permits that all loops share."""
    number = 5 * MAX_LOOPS_AT_DATABASE
    source = Script()
    source.steps = [SourceError("answered 500")]
    with cast.app_context():
        with write() as session:
            for n in range(number):
                registry.add(session, id=f"s{n}", name=f"S{n}", kind=ANY_KIND, url=NOWHERE)
        lease = Lease(ttl_s=scaled(60))
        assert lease.try_acquire()
        observer = ServiceObserver(lease, INTERVAL_S, [])
        for n in range(number):
            observer.observe(WatchedService(f"s{n}", source))
        together = Together()
        sa.event.listen(db.engine, "checkout", together.enter)
        sa.event.listen(db.engine, "checkin", together.leave)

        def note(n: int) -> None:
            with cast.app_context():
                observer.note_silence(WatchedService(f"s{n}", source))

        with ThreadPoolExecutor(number) as threads:
            list(threads.map(note, range(number)))
        sa.event.remove(db.engine, "checkout", together.enter)
        sa.event.remove(db.engine, "checkin", together.leave)
    assert 1 <= together.most <= MAX_LOOPS_AT_DATABASE


class Together:
    """How many connections were in use at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def enter(self, *_: Any) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)

    def leave(self, *_: Any) -> None:
        with self._lock:
            self._now -= 1

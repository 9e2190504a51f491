"""Ten causes planted among many failures of real apps are ten groups with their counts, also after retries."""

import random
from collections.abc import Iterator, Sequence

import pytest
from flask import Flask
from rq import Queue

from app.db import write
from app.infra.lease import Lease
from app.reconciliation import registry
from app.reconciliation.observer import WatchedService
from app.sources.celery import KIND as CELERY
from app.sources.protocol import ServiceAddress, Source
from tests.failures.scene import SERVICE, Failing, Poll
from tests.services.celery_scene import Fleet
from tests.services.rq_scene import Scene
from tests.services.rq_tasks import CAUSES, fail_for
from tests.services.valkey import Valkey
from tests.support.any_service import ANY_KIND, NOWHERE
from tests.support.machine import scaled
from tests.support.waiting import wait_for

# One of the first cause, two of the second, …: 55 shares.
SHARES = range(1, len(CAUSES) + 1)
NUMBERS = [110, pytest.param(5_005, marks=pytest.mark.long)]


class RealPoll(Poll):
    """Polls a real source, as often as it takes until every failed job is read."""

    def __init__(self, source: Source) -> None:
        self.lease = Lease(ttl_s=scaled(60))
        assert self.lease.try_acquire()
        super().__init__(self.lease.claim(), Failing())
        self.real = source

    def until_read(self, failed: int) -> dict[str, int]:
        """The groups, once `failed` jobs are failed and each was read."""

        def is_read() -> bool:
            assert self.lease.renew()
            self.tracker.follow(self.claim, WatchedService(SERVICE, self.real), self.real.read_snapshot())
            return self.unread() == 0 and sum(self.groups().values()) == failed

        wait_for(is_read, f"{failed} failed jobs to be read", 60)
        return self.groups()


@pytest.fixture
def watched(app: Flask) -> Iterator[None]:
    with app.app_context():
        with write() as session:
            registry.add(session, id=SERVICE, name="Mail", kind=ANY_KIND, url=NOWHERE)
        yield


def plant(number: int) -> tuple[list[tuple[int, int]], dict[str, int]]:
    """The arguments of the calls, shuffled, and how many of them fail for each cause."""
    calls = [(cause, order) for cause, share in enumerate(SHARES) for order in range(share * number // sum(SHARES))]
    random.Random(1).shuffle(calls)
    return calls, {cause.__name__: share * number // sum(SHARES) for cause, share in zip(CAUSES, SHARES, strict=True)}


@pytest.mark.parametrize("number", NUMBERS)
def test_of_rq(watched: None, number: int) -> None:
    calls, planted = plant(number)
    with Scene() as scene:
        source, queue = scene.source(), scene.queue()
        enqueue(queue, calls)
        scene.work()
        poll = RealPoll(source)
        assert poll.until_read(number) == planted

        again = [f"3-{order}" for order in range(4)]
        for job_id in again:
            queue.failed_job_registry.requeue(job_id)
        assert poll.until_read(number - 4) == {**planted, CAUSES[3].__name__: planted[CAUSES[3].__name__] - 4}
        scene.work(name="again")
        assert poll.until_read(number) == planted
        for job_id in again:
            queue.failed_job_registry.remove(job_id, delete_job=True)
        assert poll.until_read(number - 4) == {**planted, CAUSES[3].__name__: planted[CAUSES[3].__name__] - 4}
        source.close()


def enqueue(queue: Queue, calls: Sequence[tuple[int, int]]) -> None:
    queue.enqueue_many(
        [
            Queue.prepare_data(fail_for, args=(cause, order), job_id=f"{cause}-{order}", failure_ttl=3_600)
            for cause, order in calls
        ]
    )


@pytest.mark.parametrize("number", NUMBERS)
def test_of_celery(watched: None, number: int) -> None:
    calls, planted = plant(number)
    with Valkey() as valkey:
        fleet = Fleet(valkey, extended=True)
        source = CELERY.build(ServiceAddress(valkey.url), CELERY.options(inspect=False, result_backend=True), 10_000)
        try:
            fleet.send_all("fail_for", calls)
            fleet.worker(pool="solo")
            poll = RealPoll(source)
            assert poll.until_read(number) == planted
        finally:
            source.close()
            fleet.close()

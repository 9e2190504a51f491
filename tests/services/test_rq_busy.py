"""A busy, healthy RQ with its default result time: not one false discrepancy, however often it is looked at.

And one that nobody works for: which queue that is, until a worker serves it.
"""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask

from app.config import Settings
from app.db import write
from app.infra.lease import Lease
from app.reconciliation import registry
from app.reconciliation.explanations import EventExplainer
from app.reconciliation.observer import ServiceObserver, WatchedService
from tests.notifications.scene import titles
from tests.reconciliation.desk import INTERVAL_S, SERVICE, Book
from tests.services.rq_scene import Scene
from tests.services.rq_traffic import QUEUES, Traffic
from tests.services.test_rq import READS
from tests.support.machine import scaled
from tests.support.waiting import wait_for

SOON = timedelta(seconds=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """On SQLite: this is about RQ."""
    return Settings(instance_dir=tmp_path / "instance", secret_key="for the tests only")


@pytest.fixture
def book(database: Path, app: Flask) -> Iterator[Book]:
    with app.app_context():
        with write() as session:
            registry.add(session, id=SERVICE, name="Mail", kind="rq", url="redis://127.0.0.1:1")
        yield Book()


def look_again_and_again(book: Book, looks: int) -> None:
    lease = Lease(ttl_s=scaled(60))  # a poller would renew it
    assert lease.try_acquire()
    observer = ServiceObserver(lease, INTERVAL_S, [EventExplainer()])
    with Scene() as scene, scene.valkey.monitored() as heard:
        # One queue is taken from through the intermediate list, several are popped straight off their lists.
        scene.worker("mail", name="one", options=("--with-scheduler",))
        scene.worker(*QUEUES, name="all", options=("-w", "rq.SimpleWorker"))
        scene.worker("reports", "pictures", name="two", options=("-w", "rq.SimpleWorker", "--with-scheduler"))
        service = WatchedService(SERVICE, scene.source(bound=100_000))
        with Traffic(scene) as traffic:
            for count in range(looks):
                assert lease.renew()  # as the poller does, over and over
                assert observer.observe(service).answered
                told = book.told
                assert (told["status"], told.get("findings") or []) == ("verified", []), (count, told["findings"])
                time.sleep(0.05)  # a moment for the jobs to move
        done = service.source.read_snapshot().counts["finished"]
        service.source.close()
    assert done > looks
    assert traffic.put > looks
    assert set(heard.of("beacon")) <= READS
    assert book.items == {}


def test_looks_at_a_busy_rq_find_nothing_wrong(book: Book) -> None:
    look_again_and_again(book, 12)


@pytest.mark.long
def test_half_an_hour_of_looks_at_a_busy_rq_find_nothing_wrong(book: Book) -> None:
    look_again_and_again(book, 360)


class TestWithoutWorkers:
    """A real RQ, and Beacon's own observer, which waits a second where it waits a minute outside the tests."""

    @pytest.fixture
    def scene(self) -> Iterator[Scene]:
        with Scene() as made:
            yield made

    @pytest.fixture
    def look(self, book: Book, scene: Scene) -> Iterator[Callable[[], list[str]]]:
        """Looks once; the queues that were said to be without a worker by then."""
        lease = Lease(ttl_s=scaled(60))  # a poller would renew it
        assert lease.try_acquire()
        observer = ServiceObserver(lease, 0.1, [EventExplainer()], unserved_for=SOON)
        service = WatchedService(SERVICE, scene.source())

        def look() -> list[str]:
            assert lease.renew()
            assert observer.observe(service).answered
            assert book.told["status"] == "verified"
            return next((one["queues"] for one in book.told.get("findings") or []), [])

        yield look
        service.source.close()

    def test_a_queue_is_found_and_noticed_once_until_a_worker_serves_it(
        self, app: Flask, book: Book, scene: Scene, look: Callable[[], list[str]]
    ) -> None:
        def put(queue: str, number: int) -> None:
            scene.queue(queue).enqueue("time.sleep", 0, job_id=f"{queue}{number}")

        put("reports", 1)
        assert look() == [], "a restart of its workers would look the same"
        wait_for(lambda: look() == ["reports"], "the queue to be found")
        [found] = book.told["findings"]
        assert (found["kind"], found["count"]) == ("no-worker", 1)
        put("reports", 2)
        assert look() == ["reports"]
        assert book.told["findings"][0]["count"] == 2
        put("mail", 1)
        wait_for(lambda: look() == ["mail", "reports"], "the queue that joined")
        scene.worker("mail", "reports", name="anna", options=("-w", "rq.SimpleWorker"))
        assert look() == []
        assert titles(app) == [f"Mail: no worker serves the queue {queue}" for queue in ("reports", "mail")]

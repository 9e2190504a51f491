"""While nobody acts, Beacon writes nothing to an RQ: not by polls and facts, not by pages, and not by a search."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.config import Settings
from app.db import write
from app.failures import failure_store
from app.failures.tracker import FailureTracker
from app.infra.lease import Lease
from app.reconciliation import registry
from app.reconciliation.explanations import EventExplainer
from app.reconciliation.observer import ServiceObserver, WatchedService
from app.search import finder
from tests.services import rq_tasks
from tests.services.rq_scene import Scene
from tests.services.test_rq import READS
from tests.support.cast import BOB, logged_in
from tests.support.machine import scaled

SERVICE = "mail"
HOME = f"/services/{SERVICE}"
# What every connection begins with.
CONNECTS = {"CLIENT", "HELLO", "SELECT"}
PAGES = (
    *("/", "/failures", HOME, f"{HOME}/failures", f"{HOME}/stuck", "/discrepancies", "/search?q=ConnectionError"),
    *(f"{HOME}/jobs?state={state}" for state in ("failed", "queued", "scheduled", "finished", "started", "deferred")),
    *(f"{HOME}/jobs/{job_id}" for job_id in ("failed-1", "waiting", "behind", "later", "done", "nobody")),
    f"{HOME}/commands/review?do=retry-job&scope=filter&state=failed",
    f"{HOME}/commands/review?do=purge-queue&queue=mail",
)


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(finder, "SEARCH_TIMEOUT_S", scaled(10))
    return settings


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Jobs in every state that needs no running worker; two of them failed, with a traceback."""
    with Scene() as made:
        queue = made.queue()
        for job_id in ("failed-1", "failed-2"):
            queue.enqueue(rq_tasks.send_mail, 17, to="anna", job_id=job_id)
        queue.enqueue("time.sleep", 0, job_id="done")
        made.work()
        queue.enqueue("time.sleep", 0, job_id="waiting")
        queue.enqueue("time.sleep", 0, job_id="behind", depends_on="waiting")
        queue.enqueue_in(timedelta(hours=1), "time.sleep", 0, job_id="later")
        yield made


def open_pages(browser: FlaskClient) -> dict[str, int]:
    return {path: browser.get(path, headers={"Accept": "text/html"}).status_code for path in PAGES}


def test_polls_pages_and_a_search_only_read(cast: Flask, scene: Scene) -> None:
    with cast.app_context(), write() as session:
        registry.add(session, id=SERVICE, name="Mail", kind="rq", url=scene.valkey.url)
    source, browser = scene.source(), logged_in(cast, BOB)
    with scene.valkey.monitored() as heard:
        with cast.app_context():
            lease = Lease(ttl_s=scaled(60))  # a poller would renew it
            assert lease.try_acquire()
            observer = ServiceObserver(
                lease, 5, [EventExplainer()], second_snapshot_after_s=0, followers=[FailureTracker()]
            )
            for _ in range(3):
                assert observer.observe(WatchedService(SERVICE, source)).answered
            with write() as session:
                assert failure_store.load_open_ids(session, SERVICE) == {"failed-1", "failed-2"}
                assert failure_store.count_unread(session) == 0
        assert open_pages(browser) == {path: 404 if path.endswith("/nobody") else 200 for path in PAGES}
        found = browser.get("/api/search?q=done", headers={"Accept": "application/json"}).get_json()["data"]
        assert [(hit["id"], hit["state"]) for hit in found] == [("done", "finished")], "only the service knows it"
    source.close()
    assert "XREVRANGE" in heard.of("beacon"), "tracebacks were read"
    assert set(heard.of("beacon")) <= READS
    others = set().union(*(commands for name, commands in heard.commands.items() if name not in ("beacon", "test")))
    assert others <= CONNECTS

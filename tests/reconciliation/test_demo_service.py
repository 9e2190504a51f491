"""The whole way from a real job service in its own process to the record, with every fault it can play."""

from collections.abc import Callable, Iterator
from itertools import groupby

import pytest
from flask import Flask

from app.db import write
from app.reconciliation import build, registry
from app.reconciliation.accept import accept_items
from app.sources.poller import Poller
from tests.reconciliation.desk import Book
from tests.support.demo_service import DemoService, start_demo
from tests.support.machine import scaled
from tests.support.waiting import wait_for

INTERVAL_S = 0.2
Watching = Callable[[], Poller[registry.WatchedService]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoService]:
    demo = start_demo(tmp_path_factory.mktemp("demo"))
    yield demo
    demo.stop()


@pytest.fixture
def demo(running: DemoService) -> DemoService:
    running.reset()
    running.create_jobs(*({"id": f"job{n}", "queue": "mail"} for n in range(8)))
    return running


@pytest.fixture
def book(app: Flask, demo: DemoService) -> Iterator[Book]:
    """Beacon polls the service, as in production but five times a second."""
    app.extensions["beacon"].settings.poll_interval_s = INTERVAL_S
    with app.app_context(), write() as session:
        registry.add(session, id="demo", name="Demo", kind="palantir", url=demo.url)
    poller = build.build_poller(app, app.extensions["beacon"].settings)
    poller.start()
    with app.app_context():
        found = Book("demo")
        wait_for(lambda: any(event["status"] == "verified" for event in found.events()))
        yield found
    poller.stop()


def status(book: Book) -> str | None:
    return book.state.status


def test_three_lost_jobs_are_named_until_they_are_accepted(demo: DemoService, book: Book) -> None:
    lost = demo.lose(3)
    wait_for(lambda: status(book) == "discrepancy")
    assert set(book.items) == set(book.told["discrepancyDetails"]["missingJobIds"]) == set(lost)
    assert book.record[-1].status == "discrepancy"
    with write() as session:
        accept_items(session, "demo", set(lost), "bob", "lost on purpose")
    assert (status(book), book.record[-1].status) == ("verified", "verified")
    checked = book.state.checked_at or ""
    wait_for(lambda: (book.state.checked_at or "") > checked)
    assert (status(book), len(book.known)) == ("verified", 5)


def test_jobs_that_run_end_and_are_aged_out_are_never_missing(demo: DemoService, book: Book) -> None:
    for n, end in enumerate(["succeeded", "failed"]):
        demo.move(f"job{n}", "running")
        wait_for(lambda n=n: book.known.get(f"job{n}") == "running")  # type: ignore[misc]
        demo.move(f"job{n}", end)
        demo.age_out(f"job{n}")
    demo.command("DELETE", "/api/v1/jobs/job2")
    demo.command("POST", "/api/v1/queues/mail/purge")
    wait_for(lambda: book.known == {})
    assert [row.status for row in book.record] == ["verified"]
    assert (book.items, book.closed) == ({}, {})


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("error", "answered 500"),
        ("garbage", "answered something that is not JSON"),
        ("refuse", "refused the connection"),
    ],
)
def test_a_service_in_trouble_is_stale_with_the_reason_and_recovers(
    demo: DemoService, book: Book, mode: str, reason: str
) -> None:
    demo.fault(mode, seconds=scaled(2))
    wait_for(lambda: status(book) == "stale" and book.told["reason"] == reason)
    assert book.told["counts"] == {}
    wait_for(lambda: status(book) == "verified")
    # A port that closes may cut off the request of a moment: another reason, and a row for each.
    assert [status for status, _ in groupby(row.status for row in book.record)] == ["verified", "stale", "verified"]


def test_a_service_that_goes_back_in_time_is_stale_until_it_has_caught_up(demo: DemoService, book: Book) -> None:
    demo.fault("rewind", seconds=1)
    wait_for(lambda: [finding["kind"] for finding in book.told.get("findings", [])] == ["rewound"])
    assert status(book) == "stale"
    demo.fault("none")
    wait_for(lambda: status(book) != "stale")


def test_a_restart_that_puts_running_jobs_back_is_no_discrepancy(demo: DemoService, book: Book) -> None:
    for n in range(4):
        demo.move(f"job{n}", "running")
    wait_for(lambda: list(book.known.values()).count("running") == 4)
    demo.command("POST", "/api/v1/service/restart")
    wait_for(lambda: list(book.known.values()).count("queued") == 8)
    assert [row.status for row in book.record] == ["verified"]

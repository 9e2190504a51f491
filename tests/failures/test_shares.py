"""What the jobs of a cause share is counted with them, whatever comes, goes and fails again."""

import pytest
from flask import Flask

from app.db import read, write
from app.failures import failure_store, shares
from app.failures.grouping import find_group
from app.failures.shares import Attempts, CommonFacts, parse_attempts
from app.sources.protocol import Job, JobDetail, JobError
from tests.web.record_scene import watched

SERVICE = "mail"
LOST = JobError("KeyError", "'a'")


@pytest.fixture
def mail(app: Flask) -> Flask:
    watched(app, SERVICE)
    return app


def fail(
    app: Flask, job_id: str, queue: str | None = "out", worker: str | None = "w1", attempt: int | None = 1
) -> None:
    detail = JobDetail(
        Job(job_id, "failed", queue, attempt), function="send", error=LOST, worker=worker, max_attempts=3
    )
    with app.app_context(), write() as session:
        failure_store.add_failed(session, SERVICE, [job_id])
        failure_store.record_facts(session, SERVICE, [job_id], {job_id: detail})


def shared(app: Flask) -> CommonFacts | None:
    group_id = find_group(SERVICE, "send", LOST).id
    with app.app_context(), read() as session:
        return shares.load_common_facts(session, [group_id]).get(group_id)


def test_queues_workers_and_attempts_are_counted_the_largest_first(mail: Flask) -> None:
    fail(mail, "a", worker="w1", attempt=2)
    fail(mail, "b", worker="w2", attempt=3)
    fail(mail, "c", worker="w2", attempt=3)
    assert shared(mail) == CommonFacts({"out": 3}, {"w2": 2, "w1": 1}, 1, 2, Attempts(2, 3, 3, 3))


def test_what_a_service_does_not_tell_is_not_counted(mail: Flask) -> None:
    fail(mail, "a", queue=None, worker="", attempt=None)
    assert shared(mail) is None


def test_jobs_that_are_gone_or_were_retried_are_counted_no_more(mail: Flask) -> None:
    for job_id, worker in (("a", "w1"), ("b", "w2"), ("c", "w3")):
        fail(mail, job_id, worker=worker)
    with mail.app_context(), write() as session:
        failure_store.mark_gone(session, SERVICE, ["a", "z"])
        failure_store.mark_gone(session, SERVICE, ["a"])
    found = shared(mail)
    assert found is not None
    assert found.workers == {"w2": 1, "w3": 1}
    fail(mail, "a", worker="w2")
    found = shared(mail)
    assert found is not None
    assert found.workers == {"w2": 2, "w3": 1}


def test_only_the_most_frequent_names_are_read_and_all_are_counted(
    mail: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "MAX_NAMES", 2)
    for number in range(5):
        fail(mail, f"j{number}", worker=f"w{min(number, 3)}")
    found = shared(mail)
    assert found is not None
    assert (found.workers, found.worker_names) == ({"w3": 2, "w0": 1}, 4)
    monkeypatch.setattr(shares, "MAX_ROWS", 3)
    found = shared(mail)
    assert found is not None
    assert (found.workers, found.worker_names) == ({"w3": 2}, 4)


def test_a_name_that_no_index_takes_is_counted_by_its_beginning(mail: Flask) -> None:
    fail(mail, "a", queue="q" * 1_000_000)
    found = shared(mail)
    assert found is not None
    assert found.queues == {"q" * shares.MAX_NAME_CHARS: 1}


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ({}, None),
        ({"3/3": 28}, Attempts(3, 3, 3, 28)),
        ({"1/5": 2, "3/5": 1}, Attempts(1, 3, 5, 3)),
        ({"1/5": 2, "10/12": 1}, Attempts(1, 10, None, 3)),
        ({"2/": 2}, Attempts(2, 2, None, 2)),
    ],
)
def test_attempts_are_a_range_of_how_many(counts: dict[str, int], found: Attempts | None) -> None:
    assert parse_attempts(counts) == found

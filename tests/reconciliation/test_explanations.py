"""Published ends in the log: found however many other events lie above them, and nothing else believed."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from app.db import read, write
from app.eventlog.models import EventRow
from app.eventlog.reader import IDS_PER_WINDOW
from app.infra.clock import utc_now, utc_text
from app.reconciliation.explanations import EVENT_SLACK, MAX_WINDOWS, EventExplainer
from tests.reconciliation.desk import SERVICE, Desk

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def insert(*texts: str, kind: str = "job.finished", at: datetime | None = None) -> None:
    """As any other program may do."""
    created = utc_text(at or utc_now())
    rows = [{"type": kind, "audience": "everyone", "data_json": text, "created_at": created} for text in texts]
    with write() as session:
        session.execute(sa.insert(EventRow), rows)


def ended(*ids: str, since: datetime = LONG_AGO) -> set[str]:
    with read() as session:
        return EventExplainer().find_ended(session, SERVICE, ids, since)


def finished(job_id: str) -> str:
    return f'{{"service": "{SERVICE}", "jobId": "{job_id}"}}'


def test_an_empty_log_explains_nothing(desk: Desk) -> None:
    assert ended("a") == set()


def test_only_the_jobs_that_were_asked_for_are_named(desk: Desk) -> None:
    insert(finished("a"), finished("b"), finished("c"))
    assert ended("a", "c", "d") == {"a", "c"}


def test_an_end_is_found_below_thousands_of_other_events(desk: Desk) -> None:
    insert(finished("a"))
    insert(*["{}"] * (2 * IDS_PER_WINDOW + 7), kind="test.noise")
    assert ended("a") == {"a"}


def test_an_end_from_before_the_job_was_last_seen_explains_nothing(desk: Desk) -> None:
    insert(finished("a"), at=LONG_AGO)
    insert(*["{}"] * IDS_PER_WINDOW, kind="test.noise")
    assert ended("a", since=utc_now()) == set()


def test_an_end_published_just_before_the_look_counts(desk: Desk) -> None:
    seen = utc_now()
    insert(finished("a"), at=seen - EVENT_SLACK + timedelta(seconds=1))
    assert ended("a", since=seen) == {"a"}


@pytest.mark.parametrize(
    "text", ["", "not json", "[]", "null", '{"service": "mail"}', '{"service": "mail", "jobId": 7}', '{"jobId": "a"}']
)
def test_a_row_that_cannot_be_read_explains_nothing(desk: Desk, text: str) -> None:
    insert(text)
    assert ended("a") == set()


def test_how_far_back_it_reads_is_bounded() -> None:
    assert IDS_PER_WINDOW * MAX_WINDOWS == 100_000

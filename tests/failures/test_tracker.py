"""Failed jobs are recorded, read in portions, grouped and counted, whatever comes, goes and fails again."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from app.db import read, write
from app.eventlog.reader import Event
from app.failures import failure_retention, failure_store, tracker
from app.failures.models import FailedJob, FailureGroup
from app.failures.tracker import find_failed
from app.infra.lease import LeaseClaim
from app.sources.protocol import Job, JobDetail, JobError, ServiceSnapshot
from tests.failures.scene import NOON, SERVICE, Failing, Poll


def test_failures_are_read_once_and_counted_by_cause(poll: Poll, source: Failing) -> None:
    for number in range(3):
        source.fail(f"k{number}", message="'a'")
    source.fail("t", "TimeoutError", "took 30 s")
    poll()
    poll()
    assert poll.groups() == {"KeyError": 3, "TimeoutError": 1}
    assert source.asked == [["k0", "k1", "k2", "t"]]
    assert (poll.row("t").failed_at, poll.row("t").queue) == ("2026-11-21T12:00:00.000Z", "out")


def test_what_is_gone_counts_no_more_and_counts_again_when_it_fails_again(poll: Poll, source: Failing) -> None:
    source.fail("a")
    source.fail("b")
    poll()
    del source.jobs["a"]
    poll()
    assert poll.groups() == {"KeyError": 1}
    assert poll.row("a").gone_at is not None
    source.fail("a", "TimeoutError", hour=13)
    poll()
    assert poll.groups() == {"KeyError": 1, "TimeoutError": 1}
    assert (poll.row("a").gone_at, poll.row("a").failed_at) == (None, "2026-11-21T13:00:00.000Z")


def test_many_are_read_in_portions_and_the_rest_is_known_to_be_unread(
    poll: Poll, source: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "MAX_FACTS", 10)
    for number in range(25):
        source.fail(f"j{number:02}")
    left = []
    for _ in range(3):
        poll()
        left.append(poll.unread())
    assert left == [15, 5, 0]
    assert poll.groups() == {"KeyError": 25}


def test_a_list_that_is_cut_or_not_told_makes_nothing_gone(poll: Poll, source: Failing) -> None:
    source.fail("a")
    source.fail("b")
    poll()
    del source.jobs["a"]
    poll(complete=False)
    poll(not_told={"failed": "its results are being counted"})
    assert poll.groups() == {"KeyError": 2}


def test_ids_that_are_in_no_list_are_followed_too(poll: Poll, source: Failing) -> None:
    source.fail("a")
    assert find_failed(ServiceSnapshot({}, (), 1, failed=frozenset({"a"}))) == ({"a"}, True)


def test_a_service_that_does_not_tell_is_asked_again(poll: Poll, source: Failing) -> None:
    source.fail("a")
    source.is_silent = True
    poll()
    assert (poll.groups(), poll.unread()) == ({}, 1)
    source.is_silent = False
    poll()
    assert (poll.groups(), poll.unread()) == ({"KeyError": 1}, 0)


def test_a_process_whose_lease_another_one_has_writes_nothing_and_says_so_in_one_line(
    source: Failing, claim: LeaseClaim, caplog: pytest.LogCaptureFixture
) -> None:
    """As at the end of every process: a poll may still run when the lease is given back."""
    source.fail("a")
    late = Poll(replace(claim, fence=claim.fence - 1), source)
    with caplog.at_level("INFO", "app.failures.tracker"):
        late()
    assert late.groups() == {}
    [line] = [each for each in caplog.records if each.name == "app.failures.tracker"]
    assert (line.levelname, line.exc_info) == ("INFO", None)
    assert "no longer holds the lease" in line.getMessage()


def test_another_process_goes_on_where_the_last_one_stopped(poll: Poll, source: Failing, claim: LeaseClaim) -> None:
    source.fail("a")
    poll()
    other = Poll(claim, source)
    del source.jobs["a"]
    source.fail("b")
    other()
    assert other.groups() == {"KeyError": 1}
    assert source.asked == [["a"], ["b"]]


def test_without_its_lease_nothing_is_written(poll: Poll, source: Failing) -> None:
    source.fail("a")
    poll.claim = LeaseClaim("poller", "somebody", 99)
    poll()
    assert poll.groups() == {}


def test_the_newest_message_stands_for_its_group(poll: Poll, source: Failing) -> None:
    source.fail("new", "ValueError", "order 2 is odd", hour=14)
    poll()
    source.fail("old", "ValueError", "order 1 is odd", hour=10)
    poll()
    with read() as session:
        [group] = session.scalars(sa.select(FailureGroup))
    assert (group.message, group.jobs) == ("order 2 is odd", 2)
    assert (group.first_at, group.last_at) == ("2026-11-21T10:00:00.000Z", "2026-11-21T14:00:00.000Z")


def test_a_job_that_was_retried_and_failed_again_at_once_is_read_again(poll: Poll, source: Failing) -> None:
    source.fail("a")
    source.fail("b")
    poll()
    with write() as session:
        failure_store.forget_facts(session, SERVICE, sa.select(FailedJob.job_id).where(FailedJob.job_id == "a"))
    assert (poll.groups(), poll.unread()) == ({"KeyError": 1}, 1)
    source.fail("a", "TimeoutError", hour=13)
    told = Event(1, "command.status", "everyone", {"service": SERVICE, "phase": "success"}, "2026-11-21T13:00:00Z")
    poll.tracker.listen([told], 1)
    poll()
    assert poll.groups() == {"KeyError": 1, "TimeoutError": 1}
    assert poll.row("a").failed_at == "2026-11-21T13:00:00.000Z"


def test_what_is_long_gone_is_deleted_and_so_are_causes_without_jobs(poll: Poll, source: Failing) -> None:
    source.fail("a")
    source.fail("b", "TimeoutError")
    poll()
    del source.jobs["a"]
    poll()
    failure_retention.prune(-1)
    assert poll.groups() == {"TimeoutError": 1}
    with read() as session:
        assert session.get(FailedJob, (SERVICE, "a")) is None
        assert session.get(FailedJob, (SERVICE, "b")) is not None


def test_too_many_that_are_gone_are_deleted_however_young_they_are(
    poll: Poll, source: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure_retention, "MAX_GONE_JOBS", 3)
    monkeypatch.setattr(failure_retention, "BATCH_ROWS", 2)
    for number in range(9):
        source.fail(f"j{number}")
    poll()
    for number in range(8):
        del source.jobs[f"j{number}"]
        poll()
    assert failure_retention.enforce_limits() == 5
    assert failure_retention.enforce_limits() == 0
    with read() as session:
        left = session.scalars(sa.select(FailedJob.job_id).order_by(FailedJob.job_id)).all()
    assert left == ["j5", "j6", "j7", "j8"]


def test_too_many_causes_without_jobs_are_deleted_and_muted_ones_stay(
    poll: Poll, source: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure_retention, "MAX_EMPTY_GROUPS", 2)
    monkeypatch.setattr(failure_retention, "BATCH_ROWS", 2)
    for number in range(9):
        source.fail(f"j{number}", f"Error{number}", hour=number)
    poll()
    with write() as session:
        muted = sa.update(FailureGroup).where(FailureGroup.error_type == "Error0")
        session.execute(muted.values(muted_until="2999-01-01T00:00:00.000Z"))
    for number in range(8):
        del source.jobs[f"j{number}"]
    poll()
    assert failure_retention.enforce_limits() == 5
    with read() as session:
        left = session.scalars(sa.select(FailureGroup.error_type).order_by(FailureGroup.error_type)).all()
    assert left == ["Error0", "Error6", "Error7", "Error8"]


def test_a_list_that_is_always_cut_off_is_not_followed_for_ever(
    poll: Poll, source: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "MAX_FOLLOWED_JOBS", 5)
    for number in range(20):
        source.jobs.clear()
        source.fail(f"j{number:02}")
        source.fail(f"k{number:02}")
        poll(complete=False)
        with read() as session:
            open_ids = failure_store.load_open_ids(session, SERVICE)
        assert set(source.jobs) <= open_ids
        assert len(open_ids) <= 5


def test_one_job_that_cannot_be_read_hides_no_other(poll: Poll, source: Failing) -> None:
    for number in range(30):
        source.fail(f"j{number:02}")
    source.poison = "j07"
    for _ in range(60):
        poll()
    assert poll.unread() == 0
    assert poll.groups() == {"KeyError": 29, "": 1}


def test_a_service_that_was_silent_for_a_while_loses_no_cause(poll: Poll, source: Failing) -> None:
    source.fail("a")
    source.is_silent = True
    for _ in range(3):
        poll()
    source.is_silent = False
    poll()
    assert poll.groups() == {"KeyError": 1}


def test_texts_that_a_database_rejects_are_stored_without_it_and_secrets_are_not(poll: Poll, source: Failing) -> None:
    job = Job("a", "failed", "out\ud800", 1)
    error = JobError("Key\0Error", "no \ud800 at https://u:secret@host/ \0")
    source.jobs["a"] = JobDetail(job, function="mail\0.send", error=error, worker="w\udfff", ended_at=NOON)
    poll()
    assert poll.unread() == 0
    with read() as session:
        [group] = session.scalars(sa.select(FailureGroup))
    assert (group.function, group.error_type) == ("mail\ufffd.send", "Key\ufffdError")
    assert group.message == "no ? at https://u:(hidden)@host/ \ufffd"
    assert (poll.row("a").queue, poll.row("a").worker) == ("out?", "w?")

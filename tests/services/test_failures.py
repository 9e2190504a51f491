"""Failures by cause over PostgreSQL: the same groups, numbers and pages as over SQLite."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from flask import Flask

from app.db import read, write
from app.eventlog.append import NewEvent
from app.failures import failure_retention, mutes, queries
from app.infra.clock import utc_now, utc_text
from app.infra.lease import Lease
from app.reconciliation import registry
from app.reconciliation.models import CheckSample
from app.sources.protocol import MAX_JOB_ID_BYTES, Job
from tests.failures.test_tracker import SERVICE, Failing, Poll
from tests.support.any_service import ANY_KIND, NOWHERE
from tests.support.cast import ALICE, headers_of, join, publish
from tests.support.machine import scaled
from tests.web.test_failure_pages import listed


@pytest.fixture
def poll(app: Flask) -> Iterator[Poll]:
    join(app, ALICE)
    with app.app_context():
        with write() as session:
            registry.add(session, id=SERVICE, name="Mail", kind=ANY_KIND, url=NOWHERE)
        lease = Lease(ttl_s=scaled(60))  # a poller would renew it
        assert lease.try_acquire()
        yield Poll(lease.claim(), Failing())


def test_a_list_has_the_same_figures_as_over_sqlite(app: Flask, poll: Poll) -> None:
    now = utc_now()
    publish(app, NewEvent("deploy.done", {"version": "4.12.0"}))
    for number in range(7):
        poll.source.fail(f"k{number}")
        job = Job(f"k{number}", "failed", "out", 1 + number % 2)
        poll.source.jobs[job.id] = replace(
            poll.source.jobs[job.id], job=job, ended_at=utc_now(), worker=f"w{number % 2}"
        )
    with write() as session:
        at = utc_text(now - timedelta(hours=2, minutes=30))
        session.add(CheckSample(service_id=SERVICE, at=at, ok=True, latency_ms=1, counts_json="{}"))
    poll()
    answer = app.test_client().get("/failures?sort=last", headers=headers_of(app, ALICE, "read")).get_json()
    [group] = answer["data"]
    assert (group["lastHour"], group["lastDay"]) == (7, [None] * 21 + [0, None, 7])
    assert (group["queues"], group["workers"]) == ({"out": 7}, {"w0": 4, "w1": 3})
    assert group["attempts"] == {"min": 1, "max": 2, "of": None, "jobs": 7}
    assert len(set(group["sampleJobIds"])) == 5
    assert group["newSince"]["event"] == "deploy.done 4.12.0"
    assert answer["meta"]["total"] == 1
    with read() as session:
        failed = queries.find_failed_job(session, SERVICE, "k3")
        assert failed is not None
        assert None not in queries.find_neighbours(session, failed)
    with write() as session:
        mutes.mute_group(session, group["group"], "alice", now + timedelta(hours=1))
    assert listed(app, muted="false") == []
    assert listed(app, muted="true") == [("KeyError", 7)]


def test_failures_come_go_and_come_back(app: Flask, poll: Poll) -> None:
    source = poll.source
    for number in range(30):
        source.fail(f"k{number}")
    source.fail("t", "TimeoutError", "took 30 s at \0")
    source.fail("x" * MAX_JOB_ID_BYTES, "TimeoutError", "took 31 s at \0")
    poll()
    assert poll.groups() == {"KeyError": 30, "TimeoutError": 2}
    del source.jobs["k0"]
    source.fail("t", "KeyError")
    poll()
    assert poll.groups() == {"KeyError": 29, "TimeoutError": 2}
    assert listed(app, q="keyerror MAIL.send") == [("KeyError", 29)]
    assert listed(app, q="took") == [("TimeoutError", 2)]
    failure_retention.prune(-1)
    assert poll.groups() == {"KeyError": 29, "TimeoutError": 2}
    with read() as session:
        assert session.get(type(poll.row("k1")), (SERVICE, "k0")) is None

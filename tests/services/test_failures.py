"""Failures by cause over PostgreSQL: the same groups, numbers and pages as over SQLite."""

from collections.abc import Iterator

import pytest
from flask import Flask

from app.db import read, write
from app.failures import failure_retention
from app.infra.lease import Lease
from app.reconciliation import registry
from app.sources.protocol import MAX_JOB_ID_BYTES
from tests.failures.test_tracker import SERVICE, Failing, Poll
from tests.support.any_service import ANY_KIND, NOWHERE
from tests.support.cast import ALICE, join
from tests.web.test_failure_pages import listed


@pytest.fixture
def poll(app: Flask) -> Iterator[Poll]:
    join(app, ALICE)
    with app.app_context():
        with write() as session:
            registry.add(session, id=SERVICE, name="Mail", kind=ANY_KIND, url=NOWHERE)
        lease = Lease()
        assert lease.try_acquire()
        yield Poll(lease.claim(), Failing())


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

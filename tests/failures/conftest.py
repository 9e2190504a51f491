from collections.abc import Iterator

import pytest
from flask import Flask

from app.db import write
from app.infra.lease import Lease, LeaseClaim
from app.reconciliation import registry
from tests.failures.scene import SERVICE, Failing, Poll
from tests.support.any_service import ANY_KIND, NOWHERE
from tests.support.machine import scaled


@pytest.fixture
def source() -> Failing:
    return Failing()


@pytest.fixture
def claim(app: Flask) -> Iterator[LeaseClaim]:
    with app.app_context():
        with write() as session:
            registry.add(session, id=SERVICE, name="Mail", kind=ANY_KIND, url=NOWHERE)
        lease = Lease(ttl_s=scaled(60))  # a poller would renew it
        assert lease.try_acquire()
        yield lease.claim()


@pytest.fixture
def poll(claim: LeaseClaim, source: Failing) -> Poll:
    return Poll(claim, source)

"""One watched service whose answers a test writes by hand, on a real database."""

from collections.abc import Iterator

import pytest
from flask import Flask

from app.db import write
from app.reconciliation import registry
from tests.reconciliation.desk import SERVICE, Desk
from tests.support.any_service import ANY_KIND, NOWHERE


@pytest.fixture
def believing(cast: Flask) -> Flask:
    """The application with its cast, and one service to watch."""
    with cast.app_context(), write() as session:
        registry.add(session, id=SERVICE, name="Mail", kind=ANY_KIND, url=NOWHERE)
    return cast


@pytest.fixture
def desk(believing: Flask) -> Iterator[Desk]:
    """Inside an application context; for tests without requests."""
    with believing.app_context():
        yield Desk()

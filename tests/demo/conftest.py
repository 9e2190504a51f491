"""A demo service of its own for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from demo.app import create_app
from demo.clock import Clock
from demo.faults import Faults
from demo.ledger import Ledger
from demo.service import Service
from demo.snapshots import Snapshots
from demo.store import Store
from tests.support.demo_service import DemoService, start_demo

StartDemo = Callable[..., DemoService]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartDemo]:
    """Start services on one database, with options; all of them end with the test."""
    started: list[DemoService] = []

    def start_one(**options: Any) -> DemoService:
        started.append(start_demo(tmp_path, **options))
        return started[-1]

    yield start_one
    for service in started:
        service.stop()


@pytest.fixture
def demo_service(start: StartDemo) -> DemoService:
    """A service whose jobs stand still, with none to begin with."""
    return start()


@pytest.fixture(scope="module")
def shared_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoService]:
    service = start_demo(tmp_path_factory.mktemp("shared"))
    yield service
    service.stop()


@pytest.fixture
def shared_demo(shared_process: DemoService) -> DemoService:
    """As good as new, but the same process for all tests of a module."""
    shared_process.reset()
    return shared_process


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """The store alone, in this process."""
    opened = Store(tmp_path / "store.db", clock)
    yield opened
    opened.close()


@pytest.fixture
def client(store: Store) -> Iterator[FlaskClient]:
    """The app without a server, for tests that need no wire."""
    snapshots = Snapshots(store)
    snapshots.take()
    service = Service("demo", 1, store, Ledger(store), Faults(store, snapshots))
    yield create_app(service).test_client()
    snapshots.close()

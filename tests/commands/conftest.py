"""Commands against the demo service, a process of its own: what was done is read from there, not from Beacon."""

from collections.abc import Iterator

import pytest
from flask import Flask

from app.db import write
from app.reconciliation import registry
from tests.commands.operator_desk import SERVICE, OperatorDesk
from tests.demo_process import DemoService, start_demo


@pytest.fixture(scope="session")
def demo_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoService]:
    service = start_demo(tmp_path_factory.mktemp("demo"))
    yield service
    service.stop()


@pytest.fixture
def demo(demo_process: DemoService) -> Iterator[DemoService]:
    demo_process.reset()
    yield demo_process
    demo_process.reset()


@pytest.fixture
def idle(cast: Flask, demo: DemoService) -> OperatorDesk:
    """Nothing runs beside the requests: a command stays as it was taken on."""
    with cast.app_context(), write() as session:
        registry.add(session, id=SERVICE, name="Mail", kind="palantir", url=demo.url)
    return OperatorDesk(cast, demo)


@pytest.fixture
def desk(idle: OperatorDesk) -> OperatorDesk:
    """With the poller and the runner of one worker."""
    idle.app.extensions["beacon_live"].start()
    return idle

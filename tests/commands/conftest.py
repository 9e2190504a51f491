"""Commands against the demo service, a process of its own: what was done is read from there, not from Beacon."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask

from app.commands import effects, executor
from app.commands.actions import ACTIONS
from app.db import write
from app.reconciliation import registry
from tests.commands.operator_desk import SERVICE, OperatorDesk
from tests.commands.scripted import Scene
from tests.support.application import start_worker
from tests.support.demo_service import DemoService, start_demo


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
def desk(idle: OperatorDesk, monkeypatch: pytest.MonkeyPatch) -> OperatorDesk:
    """With the poller and the runner of a worker. No job that they retry fails again; test_effects.py follows some."""
    monkeypatch.setattr(effects, "RETRY_FOLLOW_S", 0.1)
    start_worker(idle.app)
    return idle


@pytest.fixture
def scene(cast: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """In an application context, with a service whose words the test writes, and a minute that takes a second."""
    made = Scene()
    monkeypatch.setattr(registry, "source_maker", lambda row, bound: lambda: made.script)
    monkeypatch.setattr(registry, "capabilities_of", lambda row: made.script.capabilities)
    monkeypatch.setattr(executor, "SETTLE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(executor, "SETTLE_INTERVAL_S", 0.02)
    monkeypatch.setattr(executor, "NOT_SENT_RETRY_DELAY_S", 0.02)
    for name, action in ACTIONS.items():
        monkeypatch.setitem(ACTIONS, name, replace(action, call_timeout_s=0.3, confirm_timeout_s=0.3))
    with cast.app_context():
        with write() as session:
            registry.add(session, id="mail", name="Mail", kind="palantir", url="http://127.0.0.1:1")
        yield made

"""Real servers beside Beacon."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from app import create_app
from app.config import Settings
from tests.services.unleash_scene import FLAG
from tests.support.application import stop
from tests.support.postgres import Postgres
from tests.support.unleash_server import Unleash


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.services)


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    address = postgres.migrated_database()
    return Settings(instance_dir=tmp_path, database_url=address, secret_key="for the tests only", heartbeat_s=0.2)


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """Beacon on an empty, migrated PostgreSQL database."""
    made = create_app(settings)
    yield made
    stop(made)


@pytest.fixture(scope="session")
def unleash_server(postgres: Postgres) -> Iterator[Unleash]:
    made = Unleash(postgres.new_database())
    made.add_flag(FLAG, 0)
    yield made
    made.kill()


@pytest.fixture
def unleash(unleash_server: Unleash) -> Iterator[Unleash]:
    """Running, with one gradual rollout at 10 %, switched on."""
    unleash_server.reset(FLAG, 10)
    yield unleash_server
    unleash_server.revive()

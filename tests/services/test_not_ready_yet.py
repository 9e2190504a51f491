"""A worker that boots before its database is ready: it says which of the reasons it is, waits, and starts by itself."""

import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from flask import Flask

from app import create_app
from app.background import BackgroundServices
from app.config import Settings
from app.infra import database_upgrade, schema_version
from tests.support.application import stop
from tests.support.postgres import Postgres
from tests.support.waiting import wait_for


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    """A database without a table."""
    return Settings(instance_dir=tmp_path, database_url=postgres.new_database(), secret_key="k")


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    made = create_app(settings)
    yield made
    stop(made)


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "app.background"]


def database_part(app: Flask) -> tuple[int, str]:
    answer = app.test_client().get("/readyz")
    return answer.status_code, answer.get_json()["parts"]["database"]


def test_one_that_was_never_migrated_is_said_to_be_that_and_the_worker_starts_once_it_is(
    app: Flask, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    live: BackgroundServices = app.extensions["beacon"].background
    live.start_when_ready()
    (said,) = reasons(caplog)
    assert said.startswith(
        "this worker waits for its database: the database is reachable but was never migrated; run beacon migrate"
    )
    assert database_part(app) == (503, "not migrated")
    with psycopg.connect(settings.database_url.replace("+psycopg", "")) as migrating:
        migrating.execute(f"SELECT pg_advisory_xact_lock({schema_version.MIGRATION_LOCK})".encode())
        wait_for(lambda: "beacon migrate is running" in reasons(caplog)[-1], "the worker to see who migrates")
        assert not live.started
    other = create_app(settings)
    database_upgrade.migrate_database(other, settings)
    stop(other)
    wait_for(lambda: live.started, "the worker to start")
    wait_for(lambda: database_part(app) == (200, "ok"), "readiness")
    wait_for(lambda: reasons(caplog)[-1] == "the database is usable, this worker started", "its word")


def test_one_that_cannot_be_reached_is_said_to_be_that(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = "postgresql://postgres@127.0.0.1:1/none"
    app = create_app(Settings(instance_dir=tmp_path, database_url=nowhere, secret_key="k"))
    try:
        app.extensions["beacon"].background.start_when_ready()
        (said,) = reasons(caplog)
        assert said.startswith("this worker waits for its database: the database is unavailable (")
        assert "check that it runs and that BEACON_DATABASE_URL is right" in said
        assert database_part(app) == (503, "unreachable")
    finally:
        stop(app)
    caplog.clear()


def test_one_of_an_older_version_names_both(postgres: Postgres, tmp_path: Path) -> None:
    address = postgres.migrated_database()
    with psycopg.connect(address, autocommit=True) as outsider:
        outsider.execute("UPDATE alembic_version SET version_num = '0009'")
    app = create_app(Settings(instance_dir=tmp_path, database_url=address, secret_key="k"))
    try:
        obstacle = app.extensions["beacon"].background._try_start()
        needed = schema_version.newest_revision()
        said = f"the database is at revision 0009, this version needs {needed}; run beacon migrate"
        assert obstacle == ("behind", said)
        assert database_part(app) == (503, "not migrated")
    finally:
        stop(app)


def test_the_newest_revision_is_the_one_that_migrations_lead_to() -> None:
    assert schema_version.newest_revision() == database_upgrade.newest_revision()

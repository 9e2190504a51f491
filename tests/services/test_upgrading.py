"""Upgrades under load: of a filled database of the first version, and to a made-up later version."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from flask import Flask

from app import create_app
from app.audit.verify import verify
from app.background import BackgroundServices
from app.config import Settings
from app.db import DatabaseUnavailable, read, write
from app.eventlog import reader as log
from app.eventlog.append import NewEvent, prepare
from app.flags import embedded
from app.flags.evaluation import Flag
from app.infra import database_upgrade, schema_version
from tests.support import older_database
from tests.support.application import stop
from tests.support.cast import ALICE, headers_of, join, publish
from tests.support.machine import scaled
from tests.support.postgres import Postgres
from tests.support.sse_client import open_stream
from tests.support.waiting import wait_for

NEXT = "9999"
# What the rule in CONTRIBUTING.md allows: old code goes on without knowing of it.
NEXT_MIGRATION = f'''
import sqlalchemy as sa, time
from alembic import op

revision, down_revision, branch_labels, depends_on = "{NEXT}", "{schema_version.newest_revision()}", None, None

def upgrade():
    op.create_table("later", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))
    op.add_column("event", sa.Column("later", sa.Text))
    op.add_column("api_token", sa.Column("later", sa.Integer, nullable=False, server_default="0"))
    op.create_index("ix_event_later", "event", ["later"])
    time.sleep(0.3)  # as many rows would take
'''


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """For a database that does not exist, or is empty."""
    more = {}
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        more["database_url"] = postgres.new_database()
    return Settings(instance_dir=tmp_path / "instance", secret_key="k", heartbeat_s=0.2, **more)


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    made = create_app(settings)
    yield made
    stop(made)


def migrate(settings: Settings) -> None:
    """Migrate as `beacon migrate` does, in a process of its own."""
    other = create_app(settings)
    try:
        database_upgrade.migrate_database(other, settings)
    finally:
        stop(other)


def live(app: Flask) -> BackgroundServices:
    found: BackgroundServices = app.extensions["beacon"].background
    return found


@contextmanager
def publishing(app: Flask) -> Iterator[list[int]]:
    """Events, one after the other, as a program publishes them: what is refused with 503 is sent again."""
    published: list[int] = []
    stopping = threading.Event()

    def run() -> None:
        group = app.extensions["beacon"].group_commit
        with app.app_context():
            while not stopping.is_set():
                try:
                    published.extend(group.append([prepare(NewEvent("counted", {}))]))
                except DatabaseUnavailable:
                    time.sleep(0.05)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield published
    finally:
        stopping.set()
        thread.join(scaled(20))


def test_a_filled_database_of_the_first_version_is_upgraded_while_a_worker_waits_for_it(
    app: Flask, settings: Settings
) -> None:
    older_database.make(app, settings)
    bearer = {"Authorization": f"Bearer {older_database.TOKEN}"}
    live(app).start_when_ready()
    client = app.test_client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").get_json()["parts"]["database"] == "not migrated"
    migrate(settings)
    wait_for(lambda: live(app).started, "the worker to start by itself")
    with app.app_context():
        with write() as session:
            embedded.change_rollout(session, Flag.SSE_STREAMING, "test", "a test", 100)
        found = verify()
        assert (found.broken, found.count) == (None, older_database.ENTRIES + 1)
    assert client.post("/api/events", json={"type": "counted", "data": {}}, headers=bearer).status_code == 201
    page = client.get("/api/events?after=30&limit=1000", headers=bearer).get_json()
    assert [event["id"] for event in page["data"]][:20] == list(range(31, 51))
    assert page["meta"]["reset"] is None


def test_a_server_goes_on_while_the_schema_of_the_next_version_comes(
    app: Flask, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(settings)
    join(app, ALICE)
    with app.app_context(), write() as session:
        embedded.change_rollout(session, Flag.SSE_STREAMING, "test", "a test", 100)
    live(app).start()
    headers = headers_of(app, ALICE, "stream", "read")
    next_version = tmp_path / "migrations"
    shutil.copytree(database_upgrade.MIGRATIONS, next_version, ignore=shutil.ignore_patterns("__pycache__"))
    (next_version / "versions" / f"{NEXT}_later.py").write_text(NEXT_MIGRATION)
    with open_stream(app.test_client(), headers=headers) as stream:
        stream.until("hello")
        with publishing(app) as published:
            wait_for(lambda: len(published) > 20, "events before")
            with monkeypatch.context() as patched:
                patched.setattr(database_upgrade, "MIGRATIONS", str(next_version))
                migrate(settings)
            reached = len(published)
            wait_for(lambda: len(published) > reached + 20, "events after")
        last = publish(app, NewEvent("the.last", {}))[0]
        heard = [int(frame.id) for frame in stream.until("the.last") if frame.event in ("counted", "the.last")]
    assert heard == [*published, last], "none lost, none twice, none out of order"
    with app.app_context(), read() as session:
        assert session.scalar(sa.text("SELECT version_num FROM alembic_version")) == NEXT
        assert log.head(session) == last
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 200, "old code serves on the newer schema"


def test_a_table_that_is_read_for_long_is_waited_for_without_stopping_the_others(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of a table waits for its readers, such as `pg_dump`, and later statements would queue up behind it."""
    settings = Settings(instance_dir=tmp_path / "i", secret_key="k", database_url=postgres.migrated_database())
    app = create_app(settings)
    next_version = tmp_path / "migrations"
    shutil.copytree(database_upgrade.MIGRATIONS, next_version, ignore=shutil.ignore_patterns("__pycache__"))
    (next_version / "versions" / f"{NEXT}_later.py").write_text(NEXT_MIGRATION.replace("0.3", "0"))
    monkeypatch.setattr(database_upgrade, "MIGRATIONS", str(next_version))
    address = settings.database_url.replace("+psycopg", "")
    migrating = threading.Thread(target=migrate, args=(settings,))
    try:
        with psycopg.connect(address) as reader, publishing(app) as published:
            reader.execute(b"SELECT count(*) FROM event")  # and the transaction stays open
            migrating.start()
            wait_for(lambda: _waits_for_table(address), "the migration to wait for the reader")
            reached = len(published)
            wait_for(lambda: len(published) > reached + 10, "publishing to go on while the reader reads")
            reader.rollback()
            migrating.join(scaled(30))
            assert not migrating.is_alive()
    finally:
        stop(app)
    with psycopg.connect(address) as outsider:
        assert outsider.execute(b"SELECT version_num FROM alembic_version").fetchone() == (NEXT,)


def _waits_for_table(address: str) -> bool:
    with psycopg.connect(address) as outsider:
        found = outsider.execute(b"SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'")
        return bool((found.fetchone() or (0,))[0])

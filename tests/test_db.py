"""`write()` against another process that holds SQLite's write lock, and what every connection is set to."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from app import create_app
from app.config import Settings
from app.db import DatabaseUnavailable, configure_engine, db, engine_options, engine_url, now_epoch, read, write
from app.eventlog.append import NewEvent, append
from app.infra import database_upgrade
from tests.support.cast import BOB, headers_of
from tests.support.machine import scaled

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@contextmanager
def held_by_another_process(database: Path) -> Iterator["subprocess.Popen[str]"]:
    """The write lock is held until the block ends, or until the process's standard input is closed."""
    command = [sys.executable, "-c", HOLDER, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.stdin.close()
            holder.wait(scaled(10))


def test_a_write_waits_for_another_process_and_then_goes_through(app: Flask, database: Path) -> None:
    with app.app_context(), held_by_another_process(database) as holder:
        assert holder.stdin is not None
        threading.Timer(0.3, holder.stdin.close).start()
        began = time.monotonic()
        with write() as session:
            waited = time.monotonic() - began
            assert append(session, [NewEvent("a", {})]) == [1]
    assert 0.2 < waited < 4


def test_a_write_gives_up_after_its_deadline(app: Flask, database: Path) -> None:
    with app.app_context(), held_by_another_process(database):
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="write lock"), write(deadline_s=0.3):
            pytest.fail("there is no lock to be had")
        assert 0.3 <= time.monotonic() - began < scaled(5)
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # the queue pool's own


def test_waiting_for_the_lock_never_stops_the_loop_for_more_than_a_few_milliseconds(app: Flask, database: Path) -> None:
    """SQLite sleeps in C, where no other greenlet can run: each attempt must come back at once."""
    ends: list[float] = [time.perf_counter()]
    attempts: list[float] = []

    def nap(seconds: float) -> None:
        attempts.append(time.perf_counter() - ends[-1])
        assert seconds <= 0.05
        time.sleep(seconds)
        ends.append(time.perf_counter())

    clock = SimpleNamespace(sleep=nap, monotonic=time.monotonic)
    with app.app_context(), held_by_another_process(database), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["app.db"], "time", clock)
        with pytest.raises(DatabaseUnavailable), write(deadline_s=0.5):
            pass
    assert len(attempts) > 5
    assert sorted(attempts)[len(attempts) // 2] < scaled(0.015), "5 ms in C, and the rest of an attempt"


def test_a_request_gets_503_and_reading_goes_on(
    app: Flask, cast: Flask, client: FlaskClient, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = headers_of(cast, BOB, "publish", "read")
    monkeypatch.setattr("app.web.events_api.routes.write", lambda: write(deadline_s=0.1))
    with held_by_another_process(database):
        refused = client.post("/api/events", json={"type": "a", "data": {}}, headers=headers)
        assert client.get("/api/events", headers=headers).status_code == 200
    assert refused.status_code == 503
    assert refused.content_type == "application/problem+json"
    assert int(refused.headers["Retry-After"]) > 0
    assert client.post("/api/events", json={"type": "a", "data": {}}, headers=headers).status_code == 201


def test_a_failed_block_leaves_nothing_and_no_lock(app: Flask) -> None:
    def fails() -> None:
        with write() as session:
            append(session, [NewEvent("a", {})])
            raise KeyError

    with app.app_context():
        with pytest.raises(KeyError):
            fails()
        with write(deadline_s=0.1) as session:
            assert append(session, [NewEvent("a", {})]) == [1]


def test_every_connection_is_set_as_the_log_and_the_audit_need_it(app: Flask) -> None:
    expected = {
        "busy_timeout": 5,
        "foreign_keys": 1,
        "recursive_triggers": 1,
        "synchronous": 2,
        "wal_autocheckpoint": 0,
    }
    with app.app_context():
        for open_session in (read, write):
            with open_session() as session:
                found = {name: session.execute(db.text(f"PRAGMA {name}")).scalar() for name in expected}
                assert found == expected
        with read() as session:
            assert session.execute(db.text("PRAGMA journal_mode")).scalar() == "wal"


def test_a_reader_does_not_wait_for_a_writer_nor_see_what_is_not_committed(app: Flask) -> None:
    with app.app_context(), write() as writer:
        append(writer, [NewEvent("a", {})])
        with read() as reader:
            assert reader.execute(db.text("SELECT count(*) FROM event")).scalar() == 0


def test_the_databases_clock_is_in_seconds_since_1970(app: Flask) -> None:
    with app.app_context(), read() as session:
        assert abs((session.scalar(db.select(now_epoch())) or 0) - time.time()) < 5


def test_a_missing_file_is_an_error_and_never_an_empty_database(settings: Settings, tmp_path: Path) -> None:
    missing = tmp_path / "none.db"
    engine = sa.create_engine(engine_url(f"sqlite:///{missing}"), **engine_options("sqlite:///"))
    configure_engine(engine)
    with pytest.raises(OperationalError, match="unable to open"):
        engine.connect()
    assert not missing.exists()


@pytest.mark.parametrize("name", ["plain", "with space", "a%2Fb", "#1?x=y", "ü"])
def test_the_instance_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Build servers name folders after branches: `feature%2Fx`."""
    settings = Settings(instance_dir=tmp_path / name, secret_key="s")
    made = create_app(settings)
    database_upgrade.migrate_database(made, settings)
    with made.app_context():
        with write() as session:
            append(session, [NewEvent("a", {})])
        db.engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with sqlite3.connect(tmp_path / name / "beacon.db") as connection:
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (1,)
    connection.close()


def test_migrating_twice_changes_nothing(app: Flask, settings: Settings) -> None:
    with app.app_context():
        before = database_upgrade.current_revision()
    database_upgrade.migrate_database(app, settings)
    with app.app_context():
        assert database_upgrade.current_revision() == before == database_upgrade.newest_revision()


def test_the_database_file_is_its_owners_alone(tmp_path: Path) -> None:
    settings = Settings(instance_dir=tmp_path / "i", secret_key="s")
    made = create_app(settings)
    database_upgrade.migrate_database(made, settings)
    with made.app_context():
        db.engine.dispose()
    assert (tmp_path / "i" / "beacon.db").stat().st_mode & 0o077 == 0


def test_models_and_migrations_agree(app: Flask) -> None:
    """What the models name, the migrations have made; triggers and checks are the migrations' own."""
    with app.app_context():
        inspector = db.inspect(db.engine)
        for table in db.metadata.tables.values():
            made = {column["name"]: column["nullable"] for column in inspector.get_columns(table.name)}
            declared = {column.name: column.nullable for column in table.columns}
            assert {name: made.get(name) for name in declared} == declared, table.name

"""`beacon doctor` about a real PostgreSQL: connections, rights, poolers, clocks, and what the driver says."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from flask import Flask

from app import create_app
from app.cli import database_checks, doctor
from app.cli.finding import Finding
from app.config import Settings
from app.db import MAX_POSTGRES_CONNECTIONS, db, engine_options, read, write
from app.flags.models import WorkerStateRow
from app.flags.worker_state import CLOCK_KEY
from app.infra import postgres_dump
from tests.support.application import stop
from tests.support.postgres import Postgres
from tests.support.transaction_pooler import TransactionPooler
from tests.support.waiting import wait_for


def address(settings: Settings) -> str:
    return settings.database_url.replace("postgresql+psycopg://", "postgresql://")


@pytest.fixture
def outsider(app: Flask, settings: Settings) -> Iterator[psycopg.Connection]:
    with psycopg.connect(address(settings), autocommit=True) as connection:
        yield connection


@pytest.fixture
def as_clerk(outsider: psycopg.Connection, settings: Settings, tmp_path: Path) -> Iterator[Callable[[], Flask]]:
    """Beacon as a role that may read and write all tables, but owns none."""
    made: list[Flask] = []
    outsider.execute(b"DO $$ BEGIN CREATE ROLE clerk LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    outsider.execute(b"GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk")
    outsider.execute(b"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO clerk")

    def build() -> Flask:
        url = settings.database_url.replace("postgres@", "clerk@")
        made.append(create_app(Settings(instance_dir=tmp_path / "clerk", database_url=url, secret_key="k")))
        return made[-1]

    yield build
    for app in made:
        stop(app)


def found_by(check: Callable[..., Finding], app: Flask, settings: Settings) -> Finding:
    with app.app_context():
        return check(settings)


def _is_exhausted() -> bool:
    """True if the pool has at most one connection left, which this call or the background may hold."""
    try:
        with db.engine.connect(), db.engine.connect():
            return False
    except sa.exc.TimeoutError:
        return True


def test_a_process_never_opens_more_connections_than_are_documented(
    app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is asked at once: the sum in docs/database.md and in `doctor` builds on it."""
    app.extensions["beacon"].background.start()
    options = engine_options(settings.database_url)
    assert options["pool_size"] + options["max_overflow"] + 1 == MAX_POSTGRES_CONNECTIONS
    with app.app_context():
        monkeypatch.setattr(db.engine.pool, "_timeout", 0.1)  # not the 5 s that requests wait
        with ExitStack() as taken:
            for _ in range(options["pool_size"] - 1):  # one is for what runs beside
                taken.enter_context(db.engine.connect())
            wait_for(_is_exhausted, "no connection to be left")
            with psycopg.connect(address(settings)) as outsider:
                open_now = outsider.execute(
                    b"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    b" AND pid <> pg_backend_pid()"
                ).fetchone()
    assert open_now is not None
    assert open_now[0] <= MAX_POSTGRES_CONNECTIONS


def test_the_sum_of_connections_is_compared_with_what_the_server_allows(
    app: Flask, settings: Settings, outsider: psycopg.Connection
) -> None:
    found = found_by(database_checks.check_connections, app, settings)
    assert found.ok, found.text
    assert (
        f"may open {(settings.workers + 1) * MAX_POSTGRES_CONNECTIONS}, {MAX_POSTGRES_CONNECTIONS} each" in found.text
    )
    with app.app_context(), write() as session:
        for number in range(30):
            state = WorkerStateRow(worker=f"host{number % 3}:{number}:x", version="1", nominal_json="{}")
            state.seen = time.time()
            session.add(state)
    crowded = found_by(database_checks.check_connections, app, settings)
    assert not crowded.ok
    assert crowded.text.startswith("30 web workers on 3 hosts, and a worker on each host, may open 231, 7 each")
    assert "raise max_connections" in crowded.text


def test_a_limit_of_the_database_counts_too(app: Flask, settings: Settings, outsider: psycopg.Connection) -> None:
    name = settings.database_url.rpartition("/")[2]
    outsider.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 5".encode())
    found = found_by(database_checks.check_connections, app, settings)
    assert not found.ok
    assert "the server allows 5" in found.text


def test_sessions_of_other_roles_count_although_their_details_are_hidden(
    outsider: psycopg.Connection, as_clerk: Callable[[], Flask], settings: Settings, postgres: Postgres
) -> None:
    """PostgreSQL tells a role that is no superuser only name and database of others' sessions."""
    clerk, pid = as_clerk(), outsider.info.backend_pid
    with clerk.app_context(), db.engine.connect() as connection:
        assert f"postgres from a hidden address (pid {pid})" in postgres_dump.find_users(connection)
    elsewhere = postgres.new_database().replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(elsewhere):
        found = found_by(database_checks.check_connections, clerk, settings)
    assert int(found.text.rpartition("other databases use ")[2]) >= 1


def test_rights_that_are_missing_are_named_with_the_statement_that_grants_them(
    outsider: psycopg.Connection, as_clerk: Callable[[], Flask], settings: Settings
) -> None:
    clerk = as_clerk()
    good = found_by(database_checks.check_privileges, clerk, settings)
    assert good == Finding(
        "privileges", True, "may read and write; the tables belong to postgres, as which beacon migrate has to run"
    )
    outsider.execute(b"REVOKE INSERT ON event, command_audit FROM clerk")
    outsider.execute(b"REVOKE DELETE ON event FROM clerk")
    outsider.execute(b"REVOKE UPDATE ON SEQUENCE event_id_seq FROM clerk")
    bad = found_by(database_checks.check_privileges, clerk, settings)
    assert not bad.ok
    assert (
        "the owner has to run: GRANT DELETE ON event TO clerk; GRANT INSERT ON command_audit, event TO clerk"
        in bad.text
    )
    assert "GRANT USAGE, UPDATE ON SEQUENCE event_id_seq TO clerk" in bad.text
    outsider.execute(b"REVOKE SELECT ON lease FROM clerk")
    with clerk.app_context():
        found = doctor.run_checks(clerk, settings)
    refused = [one.text for one in found if one.subject == "database" and not one.ok]
    assert all("permission denied for table lease; see privileges above" in text.split(")", 1)[1] for text in refused)


def test_the_owner_lacks_nothing(app: Flask, settings: Settings) -> None:
    assert found_by(database_checks.check_privileges, app, settings) == Finding(
        "privileges", True, "may read and write"
    )


def test_a_pooler_in_transaction_mode_is_named_and_postgresql_itself_is_fine(
    app: Flask, settings: Settings, postgres: Postgres
) -> None:
    assert found_by(database_checks.check_notifications, app, settings).ok
    with TransactionPooler(postgres.port) as pooler:
        behind = settings.model_copy(
            update={"database_url": settings.database_url.replace(f":{postgres.port}/", f":{pooler.port}/")}
        )
        found = found_by(database_checks.check_notifications, app, behind)
    assert not found.ok
    assert "a pooler in transaction mode, such as pgbouncer" in found.text
    assert "pool_mode = session" in found.text


def test_hosts_whose_clocks_differ_are_named(app: Flask, settings: Settings) -> None:
    with app.app_context():
        assert database_checks.check_clocks().ok
        with write() as session:
            for host, ahead in (("good", 0.01), ("fast", 61.5), ("slow", -2.0)):
                state = json.dumps({CLOCK_KEY: ahead})
                row = WorkerStateRow(worker=f"{host}:1:x", version="1", nominal_json=state, seen=time.time())
                session.add(row)
        found = database_checks.check_clocks()
    assert not found.ok
    assert "fast is 61.5 s ahead, slow is 2.0 s behind; synchronize all hosts with NTP" in found.text
    assert "good" not in found.text


def test_a_running_worker_reports_its_clock(app: Flask) -> None:
    app.extensions["beacon"].background.start()

    def reported() -> list[float]:
        with app.app_context(), read() as session:
            rows = session.scalars(sa.select(WorkerStateRow.nominal_json))
            return [json.loads(row)[CLOCK_KEY] for row in rows]

    assert abs(wait_for(reported, "the worker's row")[0]) < 60


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("/test_", "/absent_"), 'database "absent_'),
        (("postgres@", "stranger@"), 'role "stranger" does not exist'),
    ],
)
def test_the_drivers_own_reason_is_repeated(
    settings: Settings, tmp_path: Path, change: tuple[str, str], reason: str
) -> None:
    url = settings.database_url.replace(*change)
    wrong = Settings(instance_dir=tmp_path / "wrong", database_url=url, secret_key="k")
    app = create_app(wrong)
    found = doctor.run_checks(app, wrong)[0]
    stop(app)
    assert (found.subject, found.ok) == ("database", False)
    assert reason in found.text

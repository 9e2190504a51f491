"""`beacon backup` and `beacon restore` on a real PostgreSQL, by its own programs."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result
from flask import Flask

from app import create_app
from app.audit import chain
from app.cli.main import cli
from app.config import Settings
from app.db import write
from app.eventlog.append import NewEvent
from app.flags import embedded
from app.flags.evaluation import Flag
from app.infra.backup_file import BackupError
from tests.support.application import stop
from tests.support.cast import ALICE, headers_of, join, publish
from tests.support.postgres import Postgres
from tests.support.sse_client import open_stream
from tests.support.waiting import wait_for

Run = Callable[..., Result]


@pytest.fixture
def run(postgres: Postgres, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("app.infra.logs.configure_logging", lambda: None)
    monkeypatch.setenv("PATH", f"{postgres.binaries}{os.pathsep}{os.environ['PATH']}")
    for name in ("instance_dir", "database_url", "secret_key"):
        monkeypatch.setenv(f"BEACON_{name.upper()}", str(getattr(settings, name)))

    def typed(*arguments: str | Path) -> Result:
        found = CliRunner().invoke(cli, [str(one) for one in arguments], standalone_mode=False)
        if found.exception is not None:
            raise found.exception
        return found

    return typed


@pytest.fixture
def outsider(settings: Settings) -> Iterator[Callable[[], psycopg.Connection]]:
    opened: list[psycopg.Connection] = []

    def connect() -> psycopg.Connection:
        address = settings.database_url.replace("postgresql+psycopg://", "postgresql://")
        opened.append(psycopg.connect(address, autocommit=True))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def events(app: Flask, count: int) -> list[int]:
    return publish(app, *(NewEvent("counted", {"n": n}) for n in range(count)))


def resets(app: Flask, headers: dict[str, str], cursor: int) -> tuple[list[str], int]:
    with open_stream(app.test_client(), headers={**headers, "Last-Event-ID": str(cursor)}) as stream:
        stream.until("hello")
        sent = publish(app, NewEvent("the.last", {}))
        heard = stream.until("the.last")
    return [frame.json()["reason"] for frame in heard if frame.event == "reset"], sent[0]


def test_a_restored_dump_keeps_owner_triggers_and_chain_and_gives_each_reader_one_reset(
    app: Flask, settings: Settings, tmp_path: Path, run: Run, outsider: Callable[[], psycopg.Connection]
) -> None:
    kept, background = tmp_path / "kept.dump", app.extensions["beacon"].background
    join(app, ALICE)
    headers = headers_of(app, ALICE, "stream", "read")
    with app.app_context(), write() as session:
        embedded.change_rollout(session, Flag.SSE_STREAMING, "test", "a test", 100)
    with outsider() as connection:
        connection.execute(b"DO $$ BEGIN CREATE ROLE keeper; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        connection.execute(b"ALTER TABLE command_audit OWNER TO keeper")
    background.start()
    last = events(app, 20)[-1]
    run("backup", kept)  # while the server runs and holds its connections
    assert kept.stat().st_mode & 0o777 == 0o600
    cursor = events(app, 100)[-1]
    with app.app_context():
        with write() as session:
            chain.record(session, chain.Entry("ada", "test", "after the backup"))
        app.extensions["beacon"].head_keeper.update()
    wait_for(lambda: background.tail.cursor == cursor)
    with pytest.raises(BackupError, match=r"in use: beacon from 127.0.0.1 \(pid \d+\).*stop Beacon on all hosts"):
        run("restore", kept, "--replace")
    stop(app)
    with outsider() as connection:  # as a newer version may leave it
        connection.execute(b"CREATE TABLE of_a_newer_version (id int)")
    with pytest.raises(BackupError, match="is not empty; back it up, then add --replace"):
        run("restore", kept)
    assert f"the log ends at id {last}" in run("restore", kept, "--replace").output
    assert run("audit", "verify").output.startswith("ok: ")
    with outsider() as connection:
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'command_audit'"
        assert connection.execute(owner.encode()).fetchone() == ("keeper",)
        assert connection.execute(b"SELECT to_regclass('of_a_newer_version')").fetchone() == (None,)
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            connection.execute(b"DELETE FROM command_audit")
    again = create_app(settings)
    again.extensions["beacon"].background.start()
    try:
        reasons, after = resets(again, headers, cursor)
        assert reasons == ["generation"]
        assert resets(again, headers, after)[0] == []
    finally:
        stop(again)
    with outsider() as connection:
        assert connection.execute(b"SELECT count(*) FROM event_generation").fetchone() == (2,)


def test_what_stands_in_the_way_of_a_dump_is_said_with_what_to_do(
    app: Flask, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.dump"
    run("backup", kept)
    stop(app)
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) - 2_000])
    with pytest.raises(BackupError, match="pg_restore failed: "):
        run("restore", kept, "--replace")
    kept.write_bytes(b"SQLite format 3\0")
    with pytest.raises(BackupError, match="a backup of SQLite, but BEACON_DATABASE_URL names a database of PostgreSQL"):
        run("restore", kept, "--replace")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BackupError, match=r"pg_dump was not found in PATH: install .*postgresql-client"):
        run("backup", tmp_path / "other.dump")
    assert not (tmp_path / "other.dump").exists()

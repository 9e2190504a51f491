"""`beacon backup` and `beacon restore` on SQLite; on PostgreSQL: tests/services/test_postgres_backup.py."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from app import create_app
from app.audit import chain
from app.background import BackgroundServices
from app.cli.main import cli
from app.config import Settings
from app.db import write
from app.eventlog.append import NewEvent
from app.infra.backup_file import BackupError
from app.infra.schema_version import newest_revision
from tests.support.application import stop
from tests.support.cast import ALICE, headers_of, publish
from tests.support.sse_client import open_stream
from tests.support.waiting import wait_for

Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Types a command and expects it to work."""
    monkeypatch.setattr("app.infra.logs.configure_logging", lambda: None)
    monkeypatch.setenv("BEACON_INSTANCE_DIR", str(settings.instance_dir))
    monkeypatch.setenv("BEACON_SECRET_KEY", settings.secret_key)

    def typed(*arguments: str | Path) -> Result:
        found = CliRunner().invoke(cli, [str(one) for one in arguments], standalone_mode=False)
        if found.exception is not None:
            raise found.exception
        return found

    return typed


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where a backup goes."""
    return tmp_path / "kept" / "beacon.backup"


@pytest.fixture(autouse=True)
def _folder(kept: Path) -> None:
    kept.parent.mkdir()


def events(app: Flask, count: int) -> list[int]:
    return publish(app, *(NewEvent("counted", {"n": n}) for n in range(count)))


def audit_entries(app: Flask, count: int) -> None:
    with app.app_context(), write() as session:
        for number in range(count):
            chain.record(session, chain.Entry("ada", "test", f"target{number}"))


def resets(app: Flask, headers: dict[str, str], cursor: int) -> tuple[list[str], int]:
    """The reasons that a stream from this cursor gives, and a cursor after it."""
    with open_stream(app.test_client(), headers={**headers, "Last-Event-ID": str(cursor)}) as stream:
        stream.until("hello")
        sent = publish(app, NewEvent("the.last", {}))
        heard = stream.until("the.last")
    return [frame.json()["reason"] for frame in heard if frame.event == "reset"], sent[0]


def query(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def test_a_restored_backup_has_the_log_and_the_audit_of_its_moment_and_each_reader_gets_one_reset(
    live_app: Flask, settings: Settings, database: Path, kept: Path, run: Run
) -> None:
    headers = headers_of(live_app, ALICE, "stream", "read")
    audit_entries(live_app, 3)
    live: BackgroundServices = live_app.extensions["beacon"].background
    last = events(live_app, 20)[-1]
    assert f"schema {newest_revision()}" in run("backup", kept).output  # while the server runs and writes
    cursor = events(live_app, 100)[-1]
    audit_entries(live_app, 2)
    wait_for(lambda: live.tail.cursor == cursor)
    with live_app.app_context():  # as a running server does every few seconds
        live_app.extensions["beacon"].head_keeper.update()
    stop(live_app)
    told = run("restore", kept, "--replace").output
    assert f"the log ends at id {last}" in told
    assert "the replaced database's audit was longer" in told
    assert query(database, "SELECT max(id) FROM event") == [(last,)]
    assert query(database, "PRAGMA journal_mode") == [("wal",)]
    assert run("audit", "verify").output.startswith("ok: ")
    with closing(sqlite3.connect(database)) as outsider, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        outsider.execute("UPDATE command_audit SET actor = 'nobody'")
    again = create_app(settings)
    again.extensions["beacon"].background.start()
    try:
        reasons, after = resets(again, headers, cursor)
        assert reasons == ["generation"]
        assert resets(again, headers, after)[0] == []
    finally:
        stop(again)
    assert len(query(database, "SELECT * FROM event_generation")) == 2, "the server found nothing more to begin"


def test_a_backup_is_one_file_for_its_owner_alone_and_takes_the_place_of_the_last_one(
    app: Flask, kept: Path, run: Run
) -> None:
    kept.write_text("the one before")
    kept.chmod(0o644)
    run("backup", kept)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert query(kept, "PRAGMA integrity_check") == [("ok",)]
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_a_backup_that_fails_leaves_the_last_one(app: Flask, database: Path, kept: Path, run: Run) -> None:
    kept.write_text("the one before")
    stop(app)
    with database.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 40_000)
    with pytest.raises(BackupError, match="damaged"):
        run("backup", kept)
    assert kept.read_text() == "the one before"
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_a_backup_to_where_nothing_can_be_written_says_so(app: Flask, kept: Path, run: Run) -> None:
    with pytest.raises(BackupError, match=r"cannot be written: No such file or directory; choose another place"):
        run("backup", kept.parent / "missing" / "file")


def test_the_database_is_no_place_for_its_backup(app: Flask, database: Path, run: Run) -> None:
    events(app, 1)
    for end in ("", "-wal"):
        with pytest.raises(BackupError, match="is the database itself"):
            run("backup", f"{database}{end}")


def test_what_a_killed_backup_left_is_in_nobodys_way(app: Flask, kept: Path, run: Run) -> None:
    """In a container each run has the same process id."""
    left = kept.with_name(f".{kept.name}.partial-{os.getpid()}")
    left.write_text("half of it")
    run("backup", kept)
    assert query(kept, "PRAGMA integrity_check") == [("ok",)]
    assert left.read_text() == "half of it"


def test_a_pipe_is_no_place_for_a_backup(app: Flask, kept: Path, run: Run) -> None:
    """As root, `beacon backup /dev/null` would have replaced it for all programs of the host."""
    os.mkfifo(kept)
    with pytest.raises(BackupError, match="is no regular file; choose another place"):
        run("backup", kept)
    assert kept.is_fifo()


def test_restore_refuses_while_a_server_runs(live_app: Flask, kept: Path, run: Run) -> None:
    events(live_app, 1)
    run("backup", kept)
    with pytest.raises(BackupError, match=r"the database is in use: .*; stop Beacon on all hosts"):
        run("restore", kept, "--replace")
    assert events(live_app, 1) == [2], "and the server goes on"


def test_restore_refuses_a_database_that_is_not_empty(app: Flask, database: Path, kept: Path, run: Run) -> None:
    run("backup", kept)
    stop(app)
    before = database.read_bytes()
    with pytest.raises(BackupError, match="is not empty; back it up, then add --replace"):
        run("restore", kept)
    assert database.read_bytes() == before


def test_restore_needs_no_database_and_replaces_a_damaged_one(app: Flask, database: Path, kept: Path, run: Run) -> None:
    last = events(app, 5)[-1]
    run("backup", kept)
    stop(app)
    for end in ("", "-wal", "-shm"):
        database.with_name(database.name + end).unlink(missing_ok=True)
    run("restore", kept)
    assert query(database, "SELECT max(id) FROM event") == [(last,)]
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    database.write_bytes(b"no database at all" * 1_000)
    run("restore", kept, "--replace")
    assert query(database, "SELECT max(id) FROM event") == [(last,)]


def test_the_write_ahead_log_of_the_former_database_is_not_applied(
    app: Flask, database: Path, kept: Path, run: Run
) -> None:
    """It lies there after a crash."""
    run("backup", kept)
    events(app, 3)
    wal = database.with_name(database.name + "-wal").read_bytes()
    stop(app)
    database.with_name(database.name + "-wal").write_bytes(wal)
    run("restore", kept, "--replace")
    assert query(database, "SELECT count(*) FROM event") == [(0,)]


def test_a_database_behind_a_link_stays_where_it_is(
    app: Flask, settings: Settings, database: Path, kept: Path, run: Run, tmp_path: Path
) -> None:
    """The disk that it was moved to is the one with the space."""
    events(app, 1)
    run("backup", kept)
    stop(app)
    moved = tmp_path / "disk.db"
    database.rename(moved)
    database.symlink_to(moved)
    run("restore", kept, "--replace")
    assert database.is_symlink()
    assert query(moved, "SELECT count(*) FROM event") == [(1,)]


def test_a_copy_of_a_database_in_use_is_no_backup(app: Flask, database: Path, kept: Path, run: Run) -> None:
    """Its newest events are in its write-ahead log, and would be lost unnoticed."""
    events(app, 3)
    for end in ("", "-wal", "-shm"):
        shutil.copy(f"{database}{end}", f"{kept}{end}")
    stop(app)
    with pytest.raises(BackupError, match=r"newest changes are in beacon.backup-wal: make a backup of it"):
        run("restore", kept, "--replace")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "schema 9999, made by a newer version"),
        ("DROP TABLE alembic_version", "not a backup of Beacon: it has no schema version"),
    ],
)
def test_restore_refuses_the_backup_of_another_version_or_program(
    app: Flask, kept: Path, run: Run, change: str, said: str
) -> None:
    run("backup", kept)
    stop(app)
    with closing(sqlite3.connect(kept)) as connection, connection:
        connection.execute(change)
    with pytest.raises(BackupError, match=said):
        run("restore", kept, "--replace")


def test_restore_refuses_what_is_no_backup_or_a_damaged_one(app: Flask, kept: Path, run: Run) -> None:
    run("backup", kept)
    stop(app)
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackupError, match="is damaged"):
        run("restore", kept, "--replace")
    kept.write_bytes(b"PGDMP" + whole)
    with pytest.raises(BackupError, match="a backup of PostgreSQL, but BEACON_DATABASE_URL names a database of SQLite"):
        run("restore", kept, "--replace")
    kept.write_bytes(b"a letter")
    with pytest.raises(BackupError, match="is not a backup of Beacon"):
        run("restore", kept, "--replace")
    kept.unlink()
    with pytest.raises(BackupError, match="cannot be read: No such file"):
        run("restore", kept, "--replace")

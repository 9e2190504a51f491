"""Who holds SQLite's locks, by what the kernel says, and that the log and the doctor name them."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from app.cli import doctor
from app.config import Settings
from app.db import write
from app.infra import lock_holders
from tests.support.beacon_server import write_lock
from tests.support.cast import BOB, headers_of

READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM event").fetchone()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def reader(app: Flask, database: Path) -> Iterator[int]:
    """Another program that reads the file and does not end its transaction."""
    command = [sys.executable, "-c", READER, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        yield holder.pid
        holder.stdin.close()


def test_a_reader_is_named_and_is_no_writer(app: Flask, database: Path, reader: int) -> None:
    (found,) = lock_holders.find_readers(str(database))
    assert (found.pid, found.name.startswith("python")) == (reader, True)
    with app.app_context():
        assert lock_holders.find_writers() == []


def test_whoever_waits_in_vain_is_told_of_a_lock_and_the_log_names_its_holder(
    cast: Flask, settings: Settings, database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(write.__wrapped__, "__defaults__", (0.1,))  # type: ignore[attr-defined]
    headers = headers_of(cast, BOB, "publish")
    with write_lock(database):
        refused = cast.test_client().post("/api/events", json={"type": "a", "data": {}}, headers=headers)
        (locks,) = [one for one in doctor.run_checks(cast, settings) if one.subject == "locks"]
    assert (refused.status_code, refused.get_json()["reason"]) == (503, "busy")
    assert "waiting for a lock" in refused.get_json()["detail"]
    assert refused.get_json()["detail"].endswith("Nothing was changed.")
    (line,) = [line for line in caplog.messages if line.startswith("the database is busy")]
    assert "held by: python" in line
    assert not locks.ok
    assert "writers wait for python" in locks.text


def test_after_a_change_of_the_same_request_nothing_is_said_of_what_was_changed(own_app: Flask) -> None:
    from app.db import DatabaseUnavailable

    @own_app.get("/first-this-then-that")
    def both() -> str:
        with write():
            pass
        raise DatabaseUnavailable("another process holds the database's write lock")

    refused = own_app.test_client().get("/first-this-then-that")
    assert refused.status_code == 503
    assert "Nothing was changed" not in refused.get_json()["detail"]


@pytest.mark.parametrize(
    ("line", "pid"),
    [
        ("1: POSIX  ADVISORY  WRITE 3212 08:01:77 120 120", 3212),
        ("1: POSIX  ADVISORY  READ 3212 08:01:77 124 124", None),
        ("1: POSIX  ADVISORY  WRITE 3212 08:01:78 120 120", None),
        ("1: POSIX  ADVISORY  WRITE 0 08:01:77 120 120", None),
        ("1: POSIX  ADVISORY  WRITE -1 08:01:77 120 120", None),
        ("1: FLOCK  ADVISORY  WRITE 3212 08:01:77 0 EOF", 3212),
        ("1: -> POSIX  ADVISORY  WRITE 3212 08:01:77 120 120", None),
        ("nonsense", None),
    ],
)
def test_lines_of_the_kernel(line: str, pid: int | None) -> None:
    assert lock_holders._parse_holder_pid(line, 77, range(120, 121)) == pid


def test_without_a_kernel_that_lists_locks_nobody_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_holders, "PROC", tmp_path)
    sqlite3.connect(tmp_path / "x.db").close()
    assert lock_holders.find_readers(str(tmp_path / "x.db")) == []
    assert lock_holders.describe_holders([]) == "unknown"
    assert os.getpid() > 0

"""The write-ahead log is moved and cut; a reader that keeps it from that is measured and named."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from app.cli import doctor
from app.config import Settings
from app.infra import sqlite_wal
from app.infra.sqlite_wal import WalMonitor
from tests.support.prometheus_text import numbers
from tests.support.waiting import wait_for


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("CREATE TABLE x (y)")
        yield connection


@pytest.fixture
def reader(tmp_path: Path, writer: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM x").fetchone()
        yield connection


def fill(writer: sqlite3.Connection, count: int = 400) -> None:
    for _ in range(count):
        writer.execute("INSERT INTO x VALUES (zeroblob(20000))")


def test_a_checkpoint_moves_the_log_and_cuts_what_had_grown(tmp_path: Path, writer: sqlite3.Connection) -> None:
    path = tmp_path / "a.db"
    fill(writer)
    assert sqlite_wal.wal_size(str(path)) > sqlite_wal.TRUNCATE_ABOVE_BYTES
    assert sqlite_wal.run_checkpoint(str(path)) == 0
    assert (sqlite_wal.wal_size(str(path)), path.stat().st_size > 400 * 20_000) == (0, True)


def test_a_small_one_is_kept_to_be_used_again(tmp_path: Path, writer: sqlite3.Connection) -> None:
    fill(writer, 3)
    assert sqlite_wal.run_checkpoint(str(tmp_path / "a.db")) == 0
    assert 0 < sqlite_wal.wal_size(str(tmp_path / "a.db")) < sqlite_wal.TRUNCATE_ABOVE_BYTES


def test_a_checkpoint_makes_no_file_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        sqlite_wal.run_checkpoint(str(tmp_path / "none.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_stays_is_told_once_and_the_file_is_cut_when_it_ends(
    tmp_path: Path,
    writer: sqlite3.Connection,
    reader: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(sqlite_wal, "STUCK_AFTER_S", 0.0)
    monkeypatch.setattr(sqlite_wal, "STUCK_ABOVE_BYTES", 1_000_000)
    wal = WalMonitor(str(tmp_path / "a.db"))
    for _ in range(3):
        fill(writer, 200)
        wal.checkpoint()
        assert wal.state.pending > 0
    assert wal.state.size > 3 * 200 * 20_000
    assert wal.state.age_s > 0
    reader.execute("COMMIT")
    wal.checkpoint()
    assert (wal.state.size, wal.state.age_s, wal.state.pending) == (0, 0.0, 0)
    assert [line.partition(":")[0].partition(",")[0] for line in caplog.messages] == [
        "the database's write-ahead log cannot be checkpointed",
        "the database's write-ahead log is checkpointed again",
    ]


def test_readiness_metrics_and_doctor_have_it(live_app: Flask, settings: Settings) -> None:
    wal = live_app.extensions["beacon"].background.wal

    def has_moved_all() -> bool:
        wal.checkpoint()
        return wal.state.pending == 0  # the live half writes too

    wait_for(has_moved_all)
    assert wal.state.size > 0
    assert live_app.test_client().get("/readyz").get_json()["wal"] == {"bytes": wal.state.size, "ageS": 0}
    found = numbers(live_app.extensions["beacon"].metrics.text().decode())
    assert found["beacon_wal_bytes",] == wal.state.size
    assert found["beacon_wal_age_seconds",] == 0
    (finding,) = [one for one in doctor.run_checks(live_app, settings) if one.subject == "wal"]
    assert finding.ok

"""Retention: old events go in steps, young ones stay, and the floor says what is gone."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from app.db import db, read, write
from app.eventlog import event_retention, generation
from app.eventlog import reader as log
from app.eventlog.log_size import LogSize, LogSizeMeter
from app.infra.clock import utc_now, utc_text


@pytest.fixture
def outsider(app: Flask, database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection, app.app_context():
        yield connection


def insert(connection: sqlite3.Connection, count: int, days_old: float) -> None:
    when = utc_text(utc_now() - timedelta(days=days_old))
    connection.executemany("INSERT INTO event (type, data_json, created_at) VALUES ('a', '{}', ?)", [(when,)] * count)


def left(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT id FROM event ORDER BY id")]


def floor() -> int:
    with read() as session:
        return log.floor(session)


def test_only_events_older_than_the_retention_go_and_the_floor_rises_to_the_last(outsider: sqlite3.Connection) -> None:
    insert(outsider, 3, days_old=8)
    insert(outsider, 2, days_old=6)
    assert event_retention.prune(7) == 3
    assert (left(outsider), floor()) == ([4, 5], 3)
    assert event_retention.prune(7) == 0
    assert floor() == 3


def test_many_go_in_small_steps(outsider: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_retention, "ROWS_PER_STEP", 10)
    insert(outsider, 35, days_old=8)
    insert(outsider, 1, days_old=0)
    steps, real = [], event_retention._prune_step

    def counted(cutoff: str) -> int:
        steps.append(real(cutoff))
        return steps[-1]

    monkeypatch.setattr(event_retention, "_prune_step", counted)
    assert event_retention.prune(7) == 35
    assert steps == [10, 10, 10, 5, 0]
    assert (left(outsider), floor()) == ([36], 35)


def test_an_old_time_written_by_hand_behind_younger_events_is_left_for_its_turn(outsider: sqlite3.Connection) -> None:
    insert(outsider, 1, days_old=8)
    insert(outsider, 1, days_old=1)
    insert(outsider, 1, days_old=9)
    event_retention.prune(7)
    assert 2 in left(outsider)


def test_an_empty_log_is_fine(outsider: sqlite3.Connection) -> None:
    assert event_retention.prune(7) == 0
    assert floor() == 0


def test_more_rows_than_the_log_may_have_go_from_the_oldest_and_the_floor_moves(
    outsider: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    insert(outsider, 1_250, days_old=0)
    limit = event_retention.LogLimit(max_rows=100, max_bytes=10**9, measure=LogSizeMeter())
    assert limit.enforce() == 1_150
    assert left(outsider) == list(range(1_151, 1_251))
    assert floor() == 1_150
    assert limit.enforce() == 0
    insert(outsider, 1, days_old=0)
    assert limit.enforce() == 1
    assert len([line for line in caplog.messages if line.startswith("the log is full")]) == 1, "told once"


def test_more_bytes_than_the_log_may_have_go_from_the_oldest(outsider: sqlite3.Connection) -> None:
    outsider.executemany("INSERT INTO event (type, data_json) VALUES ('a', ?)", [(f'{{"a":"{"ü" * 500}"}}',)] * 1_000)
    limit = event_retention.LogLimit(max_rows=10**6, max_bytes=300_000, measure=LogSizeMeter())
    assert limit.enforce() > 0
    (held,) = outsider.execute("SELECT sum(length(CAST(data_json AS BLOB))) FROM event").fetchone()
    assert 250_000 < held <= 300_000
    assert limit.measure.last.bytes == held
    assert left(outsider)[-1] == 1_000
    assert floor() == left(outsider)[0] - 1


def test_the_measure_reads_what_does_not_change_once(outsider: sqlite3.Connection) -> None:
    insert(outsider, 1_000, days_old=0)
    measure, summed = LogSizeMeter(), list[str]()

    def note(*call: object) -> None:
        summed.append(str(call[2]))

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        for _ in range(3):
            with read() as session:
                assert measure.measure(session) == LogSize(1_000, 2_000)
        insert(outsider, 1, days_old=0)
        with read() as session:
            assert measure.measure(session) == LogSize(1_001, 2_002)
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)
    # All of them, then nothing for a log that has not changed, then what lies at its two ends.
    assert len([statement for statement in summed if "sum(" in statement]) == 6 + 2


def test_a_log_with_a_gap_of_generations_is_measured_without_it(outsider: sqlite3.Connection) -> None:
    insert(outsider, 10, days_old=0)
    with write() as session:
        generation.begin_generation(session, 10)
    insert(outsider, 5, days_old=0)
    with read() as session:
        assert LogSizeMeter().measure(session) == LogSize(15, 30)
    assert event_retention.LogLimit(max_rows=7, max_bytes=10**9, measure=LogSizeMeter()).enforce() == 8
    assert len(left(outsider)) == 7


def test_a_log_within_its_bounds_loses_nothing(outsider: sqlite3.Connection) -> None:
    assert event_retention.LogLimit(1, 1, LogSizeMeter()).enforce() == 0
    insert(outsider, 20, days_old=0)
    assert event_retention.LogLimit(20, 40, LogSizeMeter()).enforce() == 0
    assert len(left(outsider)) == 20

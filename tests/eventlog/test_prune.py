"""Retention: old events go in steps, young ones stay, and the floor says what is gone."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask

from app.clock import utc_now, utc_text
from app.db import read
from app.eventlog import prune
from app.eventlog import read as log


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
    assert prune.prune(7) == 3
    assert (left(outsider), floor()) == ([4, 5], 3)
    assert prune.prune(7) == 0
    assert floor() == 3


def test_many_go_in_small_steps(outsider: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "STEP", 10)
    insert(outsider, 35, days_old=8)
    insert(outsider, 1, days_old=0)
    steps, real = [], prune._step

    def counted(cutoff: str) -> int:
        steps.append(real(cutoff))
        return steps[-1]

    monkeypatch.setattr(prune, "_step", counted)
    assert prune.prune(7) == 35
    assert steps == [10, 10, 10, 5, 0]
    assert (left(outsider), floor()) == ([36], 35)


def test_an_old_time_written_by_hand_behind_younger_events_is_left_for_its_turn(outsider: sqlite3.Connection) -> None:
    insert(outsider, 1, days_old=8)
    insert(outsider, 1, days_old=1)
    insert(outsider, 1, days_old=9)
    prune.prune(7)
    assert 2 in left(outsider)


def test_an_empty_log_is_fine(outsider: sqlite3.Connection) -> None:
    assert prune.prune(7) == 0
    assert floor() == 0

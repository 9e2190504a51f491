"""Reading the log: pages, audiences, and rows that cannot be read."""

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app.db import read, write
from app.eventlog import reader as log
from app.eventlog.append import NewEvent, append
from app.eventlog.audience import Viewer, is_valid
from tests.support.cast import ADA, ALICE, BOB, CHARLIE, PIA, Person

DEEP = '{"x":' + "[" * 30_000 + "]" * 30_000 + "}"
# What another program may have written, and the words that the log must say about it.
UNREADABLE: dict[str, tuple[Any, Any, Any]] = {
    "bad JSON": ("t", "everyone", "{"),
    "empty": ("t", "everyone", ""),
    "no object": ("t", "everyone", "[1]"),
    "a bare null": ("t", "everyone", "null"),
    "NaN": ("t", "everyone", '{"n": NaN}'),
    "Infinity": ("t", "everyone", '{"n": -Infinity}'),
    "a number beyond every float": ("t", "everyone", '{"n": 1e999}'),
    "an endless number": ("t", "everyone", '{"n": ' + "9" * 5_000 + "}"),
    "too deep to read": ("t", "everyone", DEEP),
    "deeper than the bound": ("t", "everyone", '{"x":' + "[" * 100 + "]" * 100 + "}"),
    "a NUL": ("t", "everyone", '{"n": 1}\0'),
    "half a surrogate pair": ("t", "everyone", '{"n": "\\ud800"}'),
    "half a pair, in capitals": ("t", "everyone", '{"n": "\\uDFFF"}'),
    "half a pair as a name": ("t", "everyone", '{"\\udc00": 1}'),
    "more than 64 KiB": ("t", "everyone", '{"n": "' + "x" * 65_536 + '"}'),
    "bytes": ("t", "everyone", b'{"n": 1}'),
    "bytes that are no UTF-8": ("t", "everyone", b"\xff\xfe"),
    "bad type": ("T!", "everyone", "{}"),
    "empty type": ("", "everyone", "{}"),
    "type with a line end": ("t\ndata: x", "everyone", "{}"),
    "type with a NUL": ("t\0", "everyone", "{}"),
    "type in bytes": (b"t", "everyone", "{}"),
    "bad audience": ("t", "all", "{}"),
    "audience in bytes": ("t", b"everyone", "{}"),
    "unknown role": ("t", "role:king", "{}"),
    "bad payload of a known type": ("job.finished", "everyone", '{"service": "mail"}'),
    "forged update": ("reconciliation.update", "everyone", '{"service": "mail", "status": "verified"}'),
    "bad control event": ("control.token_revoked", "control", '{"token": "all"}'),
}


@pytest.fixture
def outsider(app: Flask, database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection, app.app_context():
        yield connection


def insert(connection: sqlite3.Connection, type_: Any, audience: Any, data: Any) -> None:
    connection.execute("INSERT INTO event (type, audience, data_json) VALUES (?, ?, ?)", (type_, audience, data))


def put(*events: NewEvent) -> list[int]:
    with write() as session:
        return append(session, events)


def page_after(cursor: int, limit: int = log.PAGE_ROWS) -> log.EventPage:
    with read() as session:
        return log.read_after(session, cursor, limit)


@pytest.mark.parametrize("case", UNREADABLE)
def test_an_unreadable_row_is_skipped_counted_once_and_named_in_the_log(
    outsider: sqlite3.Connection, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    put(NewEvent("before", {}))
    insert(outsider, *UNREADABLE[case])
    put(NewEvent("behind", {}))
    with caplog.at_level(logging.ERROR, "app.eventlog.reader"):
        first, second = page_after(0), page_after(0)
    assert [event.type for event in first.events] == ["before", "behind"]
    assert first == second
    assert first.cursor == 3
    assert log.unreadable_rows.count == 1
    (record,) = [each for each in caplog.records if each.name == "app.eventlog.reader"]  # others may log at any time
    words = record.getMessage()
    assert "id=2" in words
    assert f"type={UNREADABLE[case][0]!r:.90}" in words
    assert "time=20" in words
    assert "\n" not in words


def test_text_that_is_no_utf8_is_skipped_like_every_unreadable_row(outsider: sqlite3.Connection) -> None:
    """SQLite keeps any bytes as text; the driver refuses to fetch them, with every other row of the page."""
    put(NewEvent("before", {}))
    outsider.execute("INSERT INTO event (type, data_json) VALUES ('t', CAST(x'7b7dff' AS TEXT))")
    outsider.execute("INSERT INTO event (type, data_json) VALUES (CAST(x'ff' AS TEXT), '{}')")
    outsider.execute("INSERT INTO event (type, audience, data_json) VALUES ('t', CAST(x'ff' AS TEXT), '{}')")
    outsider.execute("INSERT INTO event (type, data_json, created_at) VALUES ('t', '{}', CAST(x'ff' AS TEXT))")
    put(NewEvent("behind", {}))
    found = page_after(0)
    assert [event.type for event in found.events] == ["before", "behind"]
    assert (found.cursor, log.unreadable_rows.count) == (6, 4)


def test_every_unreadable_row_counts_in_whatever_order_they_are_met(outsider: sqlite3.Connection) -> None:
    for _ in range(3):
        insert(outsider, "t", "everyone", "{")
    with read() as session:
        assert log.read_newest_before(session, Viewer("alice", "viewer"), None, 10).events == []
    page_after(0)
    assert log.unreadable_rows.count == 3


def test_a_page_of_unreadable_rows_alone_moves_the_cursor(outsider: sqlite3.Connection) -> None:
    for _ in range(4):
        insert(outsider, "t", "everyone", "{")
    assert page_after(0, limit=3) == log.EventPage([], 3, full=True)
    assert page_after(3, limit=3) == log.EventPage([], 4, full=False)


def test_a_time_by_hand_may_be_written_as_sqlite_writes_it(outsider: sqlite3.Connection) -> None:
    outsider.execute("INSERT INTO event (type, data_json, created_at) VALUES ('t', '{}', '2026-01-02 03:04:05')")
    assert page_after(0).events[0].timestamp == "2026-01-02T03:04:05.000Z"


@pytest.mark.parametrize("text", ["yesterday", "", "9", "2026-13-01", "0001-01-01T00:00:00+14:00"])
def test_a_row_with_a_time_that_is_none_is_unreadable(outsider: sqlite3.Connection, text: str) -> None:
    outsider.execute("INSERT INTO event (type, data_json, created_at) VALUES ('t', '{}', ?)", (text,))
    assert (page_after(0).events, log.unreadable_rows.count) == ([], 1)


def test_pages_join_without_gap_or_repeat(outsider: sqlite3.Connection) -> None:
    ids = put(*(NewEvent("a", {"n": n}) for n in range(7)))
    found, cursor, full = [], 0, True
    while full:
        page = page_after(cursor, limit=3)
        found += [event.id for event in page.events]
        cursor, full = page.cursor, page.full
    assert found == ids


def test_head_and_floor_of_an_empty_log_are_zero(outsider: sqlite3.Connection) -> None:
    with read() as session:
        assert (log.head(session), log.floor(session)) == (0, 0)


def test_head_stays_when_everything_is_pruned(outsider: sqlite3.Connection) -> None:
    put(NewEvent("a", {}), NewEvent("a", {}))
    outsider.execute("DELETE FROM event")
    with read() as session:
        assert (log.head(session), log.floor(session)) == (2, 2)


def test_the_last_page_for_an_audience_ends_at_the_head(outsider: sqlite3.Connection) -> None:
    put(NewEvent("a", {}), NewEvent("a", {}, "user:bob"), NewEvent("a", {}, "user:bob"))
    with read() as session:
        page = log.read_visible(session, 0, Viewer("alice", "viewer").audiences)
    assert ([event.id for event in page.events], page.cursor, page.full) == ([1], 3, False)


AUDIENCES = [
    "everyone",
    "user:alice",
    "user:charlie",
    "role:viewer",
    "role:operator",
    "role:product",
    "role:admin",
    "control",
]
SEES: dict[Person, set[str]] = {
    ALICE: {"everyone", "user:alice", "role:viewer"},
    BOB: {"everyone", "role:operator"},
    CHARLIE: {"everyone", "user:charlie", "role:viewer"},
    PIA: {"everyone", "role:product"},
    ADA: {"everyone", "role:viewer", "role:operator", "role:product", "role:admin"},
}


@pytest.mark.parametrize("person", SEES, ids=lambda person: person.name)
def test_everyone_of_the_cast_sees_their_own_and_nothing_else(outsider: sqlite3.Connection, person: Person) -> None:
    for audience in AUDIENCES:
        data = '{"user": "x"}' if audience == "control" else "{}"
        insert(outsider, "control.user_changed" if audience == "control" else "t", audience, data)
    viewer = Viewer(person.name, person.role)
    with read() as session:
        replayed = {event.audience for event in log.read_visible(session, 0, viewer.audiences).events}
        shown = {event.audience for event in log.read_newest_before(session, viewer, None, 50).events}
    assert replayed == shown == SEES[person]


def test_newest_comes_first_and_leaves_types_out(outsider: sqlite3.Connection) -> None:
    put(*(NewEvent(name, {}) for name in ("a", "b", "c", "d")))
    with read() as session:
        found = log.read_newest_before(session, Viewer("alice", "viewer"), None, 2, ["c"]).events
    assert [event.type for event in found] == ["d", "b"]


@pytest.mark.parametrize("name", ["everyone", "control", "role:admin", "user:a", "user:A.b_c@d-e", "user:" + "a" * 64])
def test_valid_audiences(name: str) -> None:
    assert is_valid(name)


@pytest.mark.parametrize(
    ("type_", "data", "said"),
    [
        ("job.failed", {f"x{n}": 1 for n in range(4_000)}, "expected at most 100 fields"),
        (
            "command.status",
            {"commandId": "c", "service": "mail", "phase": "error", "logs": [1] * 20_000},
            "payload field logs.0",
        ),
    ],
)
def test_of_a_row_with_thousands_of_mistakes_the_first_is_named(
    outsider: sqlite3.Connection, caplog: pytest.LogCaptureFixture, type_: str, data: dict[str, Any], said: str
) -> None:
    insert(outsider, type_, "everyone", json.dumps(data))
    assert page_after(0).events == []
    assert said in caplog.text


def test_events_of_one_type_are_read_page_after_page_up_to_the_head(outsider: sqlite3.Connection) -> None:
    put(*(NewEvent(kind, {}) for kind in ("mine", "other", "mine", "mine", "other")))
    with read() as session:
        first = log.read_type_after(session, 0, "mine", limit=2)
        rest = log.read_type_after(session, first.cursor, "mine", limit=2)
        ahead = log.read_type_after(session, 99, "mine")
    assert ([event.id for event in first.events], first.cursor, first.full) == ([1, 3], 3, True)
    assert ([event.id for event in rest.events], rest.cursor, rest.full) == ([4], 5, False)
    assert (ahead.events, ahead.cursor) == ([], 5), "an older log was restored: it goes on from its head"

"""What the database itself keeps, whoever writes: ids rise, events never change, the audit only grows."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from app.db import read, write
from app.eventlog import reader as log
from app.eventlog.append import NewEvent, append
from app.infra.clock import parse_utc, utc_now

AUDIT_ROWS = {
    "discrepancy_event": "(id, service, status, counts_json, checksum, latency_ms)"
    " VALUES ('{id}', 'mail', 'verified', '{{}}', 'c', 1)",
    "command_audit": "(id, actor, action_type, target, outcome, seq, prev_hash, hash)"
    " VALUES ('{id}', 'bob', 'x', 'y', 'success', {seq}, 'p', 'h')",
}


@pytest.fixture
def outsider(app: Flask, database: Path) -> Iterator[sqlite3.Connection]:
    """Another program: a plain connection with SQLite's own defaults, no `recursive_triggers`."""
    connection = sqlite3.connect(database, isolation_level=None)
    assert connection.execute("PRAGMA recursive_triggers").fetchone() == (0,)
    yield connection
    connection.close()


def publish(app: Flask, count: int) -> list[int]:
    with app.app_context(), write() as session:
        return append(session, [NewEvent("a", {})] * count)


def events(app: Flask) -> list[log.Event]:
    with app.app_context(), read() as session:
        return log.read_after(session, 0).events


def insert_audit(connection: sqlite3.Connection, table: str, key: str, seq: int, verb: str = "INSERT") -> None:
    connection.execute(f"{verb} INTO {table} " + AUDIT_ROWS[table].format(id=key, seq=seq))


def test_an_insert_by_hand_gets_id_audience_and_time_and_is_an_event(app: Flask, outsider: sqlite3.Connection) -> None:
    publish(app, 1)
    outsider.execute("INSERT INTO event (type, data_json) VALUES ('by.hand', '{\"n\": 1}')")
    found = events(app)[-1]
    assert (found.id, found.type, found.audience, found.data) == (2, "by.hand", "everyone", {"n": 1})
    assert abs((utc_now() - parse_utc(found.timestamp)).total_seconds()) < 60
    assert publish(app, 1) == [3]


@pytest.mark.parametrize("chosen", [1, 2, 0, -1, -(2**63)])
def test_an_id_at_or_below_the_highest_is_refused(app: Flask, outsider: sqlite3.Connection, chosen: int) -> None:
    publish(app, 2)
    with pytest.raises(sqlite3.IntegrityError):
        outsider.execute("INSERT INTO event (id, type, data_json) VALUES (?, 'x', '{}')", (chosen,))
    assert [event.id for event in events(app)] == [1, 2]


@pytest.mark.parametrize("chosen", [5, 2**63 - 1])
def test_an_id_that_would_leave_a_gap_is_refused(app: Flask, outsider: sqlite3.Connection, chosen: int) -> None:
    """The highest id there is would leave none for anybody else."""
    publish(app, 3)
    with pytest.raises(sqlite3.IntegrityError, match="one by one"):
        outsider.execute("INSERT INTO event (id, type, data_json) VALUES (?, 'a', '{}')", (chosen,))


def test_one_statement_may_insert_many(app: Flask, outsider: sqlite3.Connection) -> None:
    publish(app, 2)
    outsider.execute("INSERT INTO event (type, data_json) VALUES ('a', '{}'), ('b', '{}'), ('c', '{}')")
    assert [event.id for event in events(app)] == [1, 2, 3, 4, 5]


def test_the_first_id_cannot_be_below_one(app: Flask, outsider: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="ids rise"):
        outsider.execute("INSERT INTO event (id, type, data_json) VALUES (0, 'x', '{}')")


def test_the_id_of_a_pruned_event_is_not_handed_out_again(app: Flask, outsider: sqlite3.Connection) -> None:
    publish(app, 3)
    outsider.execute("DELETE FROM event")
    with pytest.raises(sqlite3.IntegrityError, match="ids rise"):
        outsider.execute("INSERT INTO event (id, type, data_json) VALUES (3, 'x', '{}')")
    assert publish(app, 1) == [4]


def test_a_falling_id_within_one_statement_is_refused(app: Flask, outsider: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="ids rise"):
        outsider.execute("INSERT INTO event (id, type, data_json) VALUES (9, 'x', '{}'), (8, 'x', '{}')")
    assert events(app) == []


@pytest.mark.parametrize("column", ["type", "audience", "data_json", "created_at", "id"])
def test_an_event_is_never_updated(app: Flask, outsider: sqlite3.Connection, column: str) -> None:
    publish(app, 1)
    before = events(app)
    with pytest.raises(sqlite3.IntegrityError, match="never changed"):
        outsider.execute(f"UPDATE event SET {column} = 77")
    assert events(app) == before


@pytest.mark.parametrize("recursive", ["OFF", "ON"])
@pytest.mark.parametrize("key", ["id", "rowid"])
def test_an_event_is_never_replaced(app: Flask, outsider: sqlite3.Connection, key: str, recursive: str) -> None:
    publish(app, 2)
    outsider.execute(f"PRAGMA recursive_triggers = {recursive}")
    with pytest.raises(sqlite3.IntegrityError):
        outsider.execute(f"INSERT OR REPLACE INTO event ({key}, type, data_json) VALUES (2, 'forged', '{{}}')")
    assert [event.type for event in events(app)] == ["a", "a"]


def test_an_upsert_changes_no_event(app: Flask, outsider: sqlite3.Connection) -> None:
    publish(app, 1)
    with pytest.raises(sqlite3.IntegrityError):
        outsider.execute(
            "INSERT INTO event (id, type, data_json) VALUES (1, 'x', '{}') ON CONFLICT (id) DO UPDATE SET type = 'x'"
        )
    assert events(app)[0].type == "a"


def test_deleting_events_raises_the_floor(app: Flask, outsider: sqlite3.Connection) -> None:
    publish(app, 5)
    outsider.execute("DELETE FROM event WHERE id IN (1, 3)")
    with app.app_context(), read() as session:
        assert (log.floor(session), log.head(session)) == (3, 5)


@pytest.mark.parametrize("table", AUDIT_ROWS)
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET timestamp = 'x'", "DELETE FROM {}", "DELETE FROM {} WHERE id = 'a'"]
)
def test_audit_rows_are_neither_updated_nor_deleted(
    app: Flask, outsider: sqlite3.Connection, table: str, statement: str
) -> None:
    insert_audit(outsider, table, "a", 1)
    before = outsider.execute(f"SELECT * FROM {table}").fetchall()
    with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"):
        outsider.execute(statement.format(table))
    assert outsider.execute(f"SELECT * FROM {table}").fetchall() == before


@pytest.mark.parametrize("recursive", ["OFF", "ON"])
@pytest.mark.parametrize("table", AUDIT_ROWS)
@pytest.mark.parametrize("verb", ["INSERT OR REPLACE", "REPLACE", "INSERT"])
def test_an_audit_row_is_not_replaced_by_its_id(
    app: Flask, outsider: sqlite3.Connection, table: str, verb: str, recursive: str
) -> None:
    outsider.execute(f"PRAGMA recursive_triggers = {recursive}")
    insert_audit(outsider, table, "a", 1)
    with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"):
        insert_audit(outsider, table, "a", 2, verb)
    assert outsider.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)


@pytest.mark.parametrize("table", AUDIT_ROWS)
@pytest.mark.parametrize("name", ["rowid", "_rowid_", "oid"])
def test_an_audit_row_is_not_replaced_by_its_hidden_rowid(
    app: Flask, outsider: sqlite3.Connection, table: str, name: str
) -> None:
    insert_audit(outsider, table, "a", 1)
    rest = AUDIT_ROWS[table].format(id="b", seq=2).replace("(id", f"({name}, id", 1).replace("('b'", "(1, 'b'", 1)
    with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"):
        outsider.execute(f"INSERT OR REPLACE INTO {table} {rest}")
    assert outsider.execute(f"SELECT id FROM {table}").fetchall() == [("a",)]


def test_an_audit_entry_is_not_replaced_by_its_place_in_the_chain(app: Flask, outsider: sqlite3.Connection) -> None:
    insert_audit(outsider, "command_audit", "a", 1)
    with pytest.raises(sqlite3.IntegrityError, match="command_audit is append-only"):
        insert_audit(outsider, "command_audit", "b", 1, "INSERT OR REPLACE")
    assert outsider.execute("SELECT id FROM command_audit").fetchall() == [("a",)]


@pytest.mark.parametrize("table", AUDIT_ROWS)
def test_audit_rows_get_their_time_from_the_database(app: Flask, outsider: sqlite3.Connection, table: str) -> None:
    insert_audit(outsider, table, "a", 1)
    (text,) = outsider.execute(f"SELECT timestamp FROM {table}").fetchone()
    assert abs((utc_now() - parse_utc(text)).total_seconds()) < 60


def test_the_shapes_named_by_the_contract_are_kept(app: Flask, outsider: sqlite3.Connection) -> None:
    for statement in (
        (
            "INSERT INTO discrepancy_event (id, service, status, counts_json, checksum, latency_ms)"
            " VALUES ('d', 's', 'lost', '{}', 'c', 1)"
        ),
        (
            "INSERT INTO command_audit (id, actor, action_type, target, outcome, seq, prev_hash, hash)"
            " VALUES ('c', 'a', 't', 't', 'maybe', 1, '', '')"
        ),
    ):
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            outsider.execute(statement)


def test_there_is_one_floor(app: Flask, outsider: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        outsider.execute("INSERT INTO event_floor (id) VALUES (2)")

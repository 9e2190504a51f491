"""The hash chain: it holds, and tampering is named at its first entry."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from app.audit import chain, reader_pool
from app.audit import verify as verifying
from app.audit.chain import GENESIS_HASH, OPTIONAL_SEALED_COLUMNS, SEALED_COLUMNS, Entry
from app.audit.models import AuditRow
from app.audit.verify import ExpectedHead, VerificationResult, verify
from app.config import Settings
from app.db import db, read, write
from app.infra.clock import utc_now, utc_text
from tests.support.machine import scaled

COUNT = 5


@pytest.fixture(autouse=True)
def _context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


@pytest.fixture
def entries() -> list[AuditRow]:
    with write() as session:
        for number in range(COUNT):
            params = {"n": number, "text": "ü\n\"'", "none": None}
            chain.record(session, Entry("bob", "retry-job", f"mail/{number}", params=params, logs=["one", "two"]))
    with read() as session:
        return list(session.scalars(db.select(AuditRow).order_by(AuditRow.seq)))


@pytest.fixture
def intruder(database: Path) -> Iterator[sqlite3.Connection]:
    """Someone with the file in their hands: triggers are no obstacle to them."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in names:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection


def verified() -> VerificationResult:
    return verify()


def test_an_empty_chain_holds() -> None:
    assert verified() == VerificationResult(0, GENESIS_HASH)


def test_entries_are_dense_and_each_seals_the_one_before(entries: list[AuditRow]) -> None:
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.prev_hash for entry in entries] == [GENESIS_HASH, *(entry.hash for entry in entries[:-1])]
    assert verified() == VerificationResult(COUNT, entries[-1].hash, seq=COUNT)


def test_an_entry_is_stored_as_it_was_given() -> None:
    entry = Entry("bob", "purge-queue", "mail", "failure", "accepted", "c1", {"a": 1}, {"a": 2}, {"b": 3}, ["gone"])
    with write() as session:
        key = chain.record(session, entry)
    with read() as session:
        row = session.get(AuditRow, key)
        assert row is not None
        assert (row.actor, row.action_type, row.target, row.outcome) == ("bob", "purge-queue", "mail", "failure")
        assert (row.stage, row.command_id) == ("accepted", "c1")
        stored = (row.before_state_json, row.after_state_json, row.command_params_json, row.logs_json)
        assert [json.loads(text or "") for text in stored] == [{"a": 1}, {"a": 2}, {"b": 3}, ["gone"]]


def test_what_was_rolled_back_is_not_in_the_chain() -> None:
    def fails() -> None:
        with write() as session:
            chain.record(session, Entry("bob", "x", "y"))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    with write() as session:
        chain.record(session, Entry("bob", "x", "y"))
    assert verified().count == 1


@pytest.mark.parametrize("column", [*(name for name in SEALED_COLUMNS if name != "seq"), *OPTIONAL_SEALED_COLUMNS])
def test_every_column_is_sealed(entries: list[AuditRow], intruder: sqlite3.Connection, column: str) -> None:
    changed = {"outcome": "failure", "stage": "accepted"}.get(column, "tampered")
    intruder.execute(f"UPDATE command_audit SET {column} = ? WHERE seq = 3", (changed,))
    found = verified()
    assert found.count == 2
    assert found.broken is not None
    assert "seq 3" in found.broken


Tampering = Callable[[sqlite3.Connection, Any], object]
TAMPERINGS: dict[str, tuple[Tampering, str]] = {
    "an entry is gone": (lambda c, _: c.execute("DELETE FROM command_audit WHERE seq = 3"), "seq 4"),
    "the first is gone": (lambda c, _: c.execute("DELETE FROM command_audit WHERE seq = 1"), "seq 2"),
    "null became empty": (
        lambda c, _: c.execute("UPDATE command_audit SET before_state_json = '' WHERE seq = 2"),
        "seq 2",
    ),
    "spaces in JSON": (
        lambda c, _: c.execute("UPDATE command_audit SET logs_json = logs_json || ' ' WHERE seq = 2"),
        "seq 2",
    ),
    "a hash was changed": (lambda c, _: c.execute("UPDATE command_audit SET hash = 'x' WHERE seq = 4"), "seq 4"),
    "an entry was changed and sealed again": (lambda c, rows: reseal(c, rows[1]), "seq 3"),
    "two swapped places": (
        lambda c, _: c.executescript(
            "UPDATE command_audit SET seq = 99 WHERE seq = 2; UPDATE command_audit SET seq = 2 WHERE seq = 3;"
            "UPDATE command_audit SET seq = 3 WHERE seq = 99;"
        ),
        "seq 2",
    ),
    "a checkpoint was made up for entries that are gone": (
        lambda c, rows: c.executescript(
            f"INSERT INTO audit_checkpoint VALUES (5, 4, '{rows[3].hash}'); DELETE FROM command_audit WHERE seq <= 4;"
        ),
        "the checkpoint 5 is not in the chain",
    ),
    "a checkpoint was made up that would come later": (
        lambda c, rows: c.executescript(
            f"INSERT INTO audit_checkpoint VALUES (6, 4, '{rows[3].hash}'); DELETE FROM command_audit WHERE seq <= 4;"
        ),
        "the checkpoint 6 is not in the chain",
    ),
    "a checkpoint was made up that is gone itself": (
        lambda c, rows: c.executescript(
            f"INSERT INTO audit_checkpoint VALUES (2, 4, '{rows[3].hash}'); DELETE FROM command_audit WHERE seq <= 4;"
        ),
        "seq 5 is the first entry and no checkpoint covers",
    ),
    "a checkpoint was made up and nothing is gone yet": (
        lambda c, rows: c.execute("INSERT INTO audit_checkpoint VALUES (5, 4, ?)", (rows[3].hash,)),
        "the checkpoint 5 is not in the chain",
    ),
    "an entry in front of the first": (
        lambda c, _: c.execute(
            "INSERT INTO command_audit (id, actor, action_type, target, outcome, seq, prev_hash, hash)"
            " VALUES ('x', 'a', 'b', 'c', 'success', 0, 'p', 'h')"
        ),
        "seq 0",
    ),
    "bytes that are no text": (
        lambda c, _: c.execute("UPDATE command_audit SET actor = CAST(x'ff' AS TEXT) WHERE seq = 2"),
        "seq 2",
    ),
    "a number that is no text either": (
        lambda c, _: c.execute("UPDATE command_audit SET seq = CAST(x'ff' AS TEXT) WHERE seq = 5"),
        "expected seq 5",
    ),
}


def reseal(connection: sqlite3.Connection, row: AuditRow) -> None:
    row.actor = "somebody else"
    connection.execute("UPDATE command_audit SET actor = ?, hash = ? WHERE seq = 2", (row.actor, chain.seal(row)))


@pytest.mark.parametrize("what", TAMPERINGS)
def test_tampering_is_named_at_the_first_entry_that_does_not_hold(
    entries: list[AuditRow], intruder: sqlite3.Connection, what: str
) -> None:
    tamper, place = TAMPERINGS[what]
    tamper(intruder, entries)
    found = verified()
    assert found.broken is not None
    assert place in found.broken


def test_a_long_chain_is_read_in_pages(entries: list[AuditRow], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "PAGE_ROWS", 2)
    monkeypatch.setattr(verifying, "PAGE_ROWS_ON_LOOP", 2)
    told: list[tuple[int, int]] = []
    assert verify(lambda *done: told.append(done)) == VerificationResult(COUNT, entries[-1].hash, seq=COUNT)
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_long_entries_are_read_a_few_at_a_time(entries: list[AuditRow], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "PAGE_BYTES", 1)
    monkeypatch.setattr(verifying, "PAGE_BYTES_ON_LOOP", 1)
    monkeypatch.setattr(reader_pool, "_ROWS_PER_FETCH", 2)
    told: list[int] = []
    assert verify(lambda done, _: told.append(done)) == VerificationResult(COUNT, entries[-1].hash, seq=COUNT)
    assert told == [2, 4, 5]


def test_an_entry_from_before_addresses_were_kept_holds_and_gets_none(
    entries: list[AuditRow], intruder: sqlite3.Connection
) -> None:
    assert [entry.origin for entry in entries] == [None] * COUNT
    intruder.execute("UPDATE command_audit SET origin = '203.0.113.9' WHERE seq = 4")
    assert "seq 4" in (verified().broken or "")


def test_text_kept_as_bytes_is_named_though_it_reads_the_same(
    entries: list[AuditRow], intruder: sqlite3.Connection
) -> None:
    intruder.execute("UPDATE command_audit SET target = CAST(target AS BLOB) WHERE seq = 2")
    assert "seq 2" in (verified().broken or "")


def test_one_byte_changed_in_the_file_is_named(entries: list[AuditRow], app: Flask, database: Path) -> None:
    """Past the database altogether: the bytes of one entry on the disk."""
    db.engine.dispose()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = database.read_bytes()
    place = content.index(entries[2].id.encode() + entries[2].timestamp.encode()) + len(entries[2].id) + 3
    database.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    found = verified()
    assert (found.count, found.broken) == (2, f"entry {entries[2].id} (seq 3): its content does not match its hash")


def test_a_removed_tail_is_noticed_against_an_exported_head(
    entries: list[AuditRow], intruder: sqlite3.Connection
) -> None:
    head = ExpectedHead(entries[-1].hash, COUNT)
    assert verify(expected=head).broken is None
    intruder.execute("DELETE FROM command_audit WHERE seq > 3")
    assert verified() == VerificationResult(3, entries[2].hash, seq=3)  # by itself the rest holds
    for expected in (head, ExpectedHead(entries[-1].hash)):
        assert "its tail, which ends at seq 3, was removed" in (verify(expected=expected).broken or "")


def test_a_chain_made_anew_is_noticed_against_an_exported_head(entries: list[AuditRow]) -> None:
    assert "rebuilt" in (verify(expected=ExpectedHead("f" * 64, 2)).broken or "")


def test_the_time_of_the_chain_is_not_set_back(entries: list[AuditRow], monkeypatch: pytest.MonkeyPatch) -> None:
    minute_ago = utc_now() - timedelta(minutes=1)
    monkeypatch.setattr(chain, "utc_now", lambda: minute_ago)
    with write() as session:
        key = chain.record(session, Entry("bob", "x", "y"))
    with read() as session:
        row = session.get(AuditRow, key)
        assert row is not None
        assert row.timestamp == entries[-1].timestamp


def test_one_time_far_ahead_does_not_decide_all_later_ones(
    entries: list[AuditRow], intruder: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """A clock that was a day ahead, or a row that somebody wrote by hand."""
    for odd in ("2999-01-01T00:00:00.000Z", "zzzz"):
        intruder.execute(
            "UPDATE command_audit SET timestamp = ? WHERE seq = (SELECT max(seq) FROM command_audit)", (odd,)
        )
        before = utc_text()
        with write() as session:
            key = chain.record(session, Entry("bob", "x", "y"))
        with read() as session:
            row = session.get(AuditRow, key)
            assert row is not None
            assert before <= row.timestamp <= utc_text()
        assert "has a time in the future" in caplog.text


@pytest.mark.parametrize("seq", [0, 3, 7, 2**63 - 1])
def test_a_row_that_does_not_follow_the_last_is_refused_and_the_chain_goes_on(
    entries: list[AuditRow], database: Path, seq: int
) -> None:
    columns = "(id, actor, action_type, target, outcome, seq, prev_hash, hash)"
    with closing(sqlite3.connect(database, isolation_level=None)) as outsider:
        for place, seal in ((seq, entries[-1].hash), (COUNT + 1, "made up")):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                outsider.execute(
                    f"INSERT INTO command_audit {columns} VALUES ('x', 'a', 'b', 'c', 'success', ?, ?, 'h')",
                    (place, seal),
                )
    with write() as session:
        chain.record(session, Entry("bob", "x", "y"))
    assert (verified().count, verified().broken) == (COUNT + 1, None)


WRITER = """
import sys
from pathlib import Path
from app import create_app
from app.audit import chain
from app.config import Settings
from app.db import write
app = create_app(Settings(instance_dir=Path(sys.argv[1]), database_url=sys.argv[3], secret_key="writer"))
with app.app_context():
    for number in range(20):
        with write(60) as session:
            chain.record(session, chain.Entry(sys.argv[2], "try", f"{number}"))
"""


def test_the_chain_holds_under_two_processes_that_write_at_once(app: Flask, settings: Settings) -> None:
    command = [sys.executable, "-c", WRITER, str(settings.instance_dir)]
    writers = [subprocess.Popen([*command, name, settings.database_url]) for name in ("one", "two")]
    assert [writer.wait(scaled(60)) for writer in writers] == [0, 0]
    assert (verified().count, verified().broken) == (40, None)


PART = st.none() | st.text(max_size=5)


@given(one=st.tuples(PART, PART, PART), two=st.tuples(PART, PART, PART))
def test_no_two_different_entries_have_one_seal(one: tuple[str | None, ...], two: tuple[str | None, ...]) -> None:
    """Lengths are sealed too: moving a character from one column to the next must show."""

    def sealed(parts: tuple[str | None, ...]) -> str:
        columns = dict.fromkeys(SEALED_COLUMNS, "x") | {"actor": parts[0], "action_type": parts[1], "target": parts[2]}
        return chain.seal(AuditRow(**{**columns, "seq": 1}))

    assert (sealed(one) == sealed(two)) == (one == two)

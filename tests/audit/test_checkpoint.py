"""Retention: entries go only under a checkpoint that is itself in the chain, and the rest still verifies."""

import json
import logging
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask

from app.audit import chain, checkpoint
from app.audit import verify as verifying
from app.audit.models import AuditRow
from app.audit.verify import ExpectedHead, verify
from app.cli.main import cli
from app.db import db, read, write
from app.infra.clock import utc_now, utc_text

FAR = "2999-01-01T00:00:00.000Z"


@pytest.fixture(autouse=True)
def _context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


@pytest.fixture
def entries() -> list[AuditRow]:
    for number in range(6):
        with write() as session:
            chain.record(session, chain.Entry("bob", "retry-job", f"mail/{number}"))
    with read() as session:
        return list(session.scalars(db.select(AuditRow).order_by(AuditRow.seq)))


@pytest.fixture
def outsider(database: Path) -> Iterator[sqlite3.Connection]:
    """Another program with SQLite's own defaults."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        yield connection


def seqs() -> list[int]:
    with read() as session:
        return list(session.scalars(db.select(AuditRow.seq).order_by(AuditRow.seq)))


def sealed() -> None:
    checkpoint.seal_before(FAR, "ada")


def test_what_a_checkpoint_covers_goes_and_the_rest_verifies_from_it(
    entries: list[AuditRow], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoint, "DELETE_BATCH_ROWS", 2)
    caplog.set_level(logging.INFO)
    sealed()
    assert checkpoint.delete_covered() == 6
    assert seqs() == [7]
    found = verify()
    assert (found.count, found.deleted_through, found.broken) == (1, 6, None)
    with read() as session:
        row = session.scalars(db.select(AuditRow)).one()
    params = json.loads(row.command_params_json or "")
    assert params == {"throughSeq": 6, "throughHash": entries[-1].hash, "entries": 6}
    assert f"audit head seq=7 hash={row.hash}" in caplog.text


def test_a_sweep_that_was_cut_off_leaves_a_chain_that_holds_and_is_finished_later(
    entries: list[AuditRow], outsider: sqlite3.Connection
) -> None:
    sealed()
    outsider.execute("DELETE FROM command_audit WHERE seq <= 4")
    assert (verify().count, verify().broken) == (3, None)
    assert checkpoint.delete_covered() == 2
    assert verify().broken is None


def test_a_second_checkpoint_covers_the_first(entries: list[AuditRow]) -> None:
    sealed()
    checkpoint.delete_covered()
    with write() as session:
        chain.record(session, chain.Entry("bob", "x", "y"))
    sealed()
    assert checkpoint.delete_covered() == 2
    found = verify()
    assert (found.count, found.deleted_through, found.broken) == (1, 8, None)


def test_without_a_checkpoint_nothing_can_be_deleted(entries: list[AuditRow], outsider: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        outsider.execute("DELETE FROM command_audit WHERE seq = 1")


def test_what_no_checkpoint_covers_stays(entries: list[AuditRow], outsider: sqlite3.Connection) -> None:
    sealed()
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        outsider.execute("DELETE FROM command_audit")
    assert seqs() == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    "values", ["(6, 5, 'no such hash')", "(6, 5, (SELECT hash FROM command_audit WHERE seq = 5))", "(99, 6, 'x')"]
)
def test_a_checkpoint_that_no_entry_seals_is_refused(
    entries: list[AuditRow], outsider: sqlite3.Connection, values: str
) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="seals this checkpoint"):
        outsider.execute(f"INSERT INTO audit_checkpoint (seq, through_seq, through_hash) VALUES {values}")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_checkpoint SET through_seq = 7",
        "DELETE FROM audit_checkpoint",
        "INSERT OR REPLACE INTO audit_checkpoint SELECT seq, through_seq, through_hash FROM audit_checkpoint",
    ],
)
def test_a_checkpoint_is_append_only(entries: list[AuditRow], outsider: sqlite3.Connection, statement: str) -> None:
    sealed()
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        outsider.execute(statement)


@pytest.mark.parametrize("verb", ["INSERT", "INSERT OR REPLACE"])
def test_what_a_checkpoint_let_go_does_not_come_back_as_something_else(
    entries: list[AuditRow], outsider: sqlite3.Connection, verb: str
) -> None:
    sealed()
    checkpoint.delete_covered()
    columns = "(id, actor, action_type, target, outcome, seq, prev_hash, hash)"
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        outsider.execute(f"{verb} INTO command_audit {columns} VALUES ('f', 'a', 'b', 'c', 'success', 3, 'p', 'h')")


def test_a_start_that_no_checkpoint_explains_is_broken(entries: list[AuditRow], outsider: sqlite3.Connection) -> None:
    outsider.execute("DROP TRIGGER command_audit_no_delete")
    outsider.execute("DELETE FROM command_audit WHERE seq <= 2")
    assert "seq 3 is the first entry and no checkpoint covers" in (verify().broken or "")


def test_a_head_from_before_the_checkpoint_is_still_met(entries: list[AuditRow]) -> None:
    sealed()
    checkpoint.delete_covered()
    assert verify(expected=ExpectedHead(entries[-1].hash, 6)).broken is None


def test_a_head_that_went_under_a_checkpoint_is_too_old_and_no_alarm(entries: list[AuditRow]) -> None:
    sealed()
    checkpoint.delete_covered()
    found = verify(expected=ExpectedHead(entries[2].hash, 3))
    assert found.broken is None
    assert found.inconclusive == (
        "the head at seq 3 is too old to compare with this chain: entries through 6 were deleted under checkpoint 7"
    )


def test_the_command_says_of_a_head_too_old_that_it_cannot_tell(
    entries: list[AuditRow], database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEACON_INSTANCE_DIR", str(database.parent))
    monkeypatch.setattr("app.infra.logs.configure_logging", lambda: None)
    sealed()
    checkpoint.delete_covered()
    said = CliRunner().invoke(cli, ["audit", "verify", "--head", entries[2].hash, "--seq", "3"])
    assert said.exit_code == 3
    assert said.stdout.startswith("cannot tell: the head at seq 3 is too old to compare with this chain")


def test_of_a_head_without_its_place_both_are_named(entries: list[AuditRow]) -> None:
    sealed()
    checkpoint.delete_covered()
    found = verify(expected=ExpectedHead(entries[2].hash))
    assert found.broken is None
    assert "entries through 6 were deleted under checkpoint 7" in (found.inconclusive or "")
    assert "its tail, which ends at seq 7, was removed" in (found.inconclusive or "")


@pytest.mark.parametrize("after", [0, 1, 2])
def test_what_a_sweep_takes_while_the_chain_is_read_is_not_missed(
    entries: list[AuditRow], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Sealed and swept behind the back of a reading that has come through page `after`."""
    monkeypatch.setattr(verifying, "PAGE_ROWS", 2)
    monkeypatch.setattr(verifying, "PAGE_ROWS_ON_LOOP", 2)
    reading = verifying.verify_in_steps()
    for _ in range(after):
        next(reading)
    sealed()
    checkpoint.delete_covered()
    *_, found = _to_the_end(reading)
    assert (found.broken, found.deleted_through, found.seq) == (None, 6, 7)


def _to_the_end(reading: Generator[tuple[int, int], None, verifying.VerificationResult]) -> Iterator[Any]:
    """What a generator returns comes last."""
    yield (yield from reading)


def test_entries_that_go_without_a_checkpoint_while_the_chain_is_read_are_named(
    entries: list[AuditRow], outsider: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "PAGE_ROWS", 2)
    monkeypatch.setattr(verifying, "PAGE_ROWS_ON_LOOP", 2)
    reading = verifying.verify_in_steps()
    next(reading)
    outsider.execute("DROP TRIGGER command_audit_no_delete")
    outsider.execute("DELETE FROM command_audit WHERE seq <= 4")
    *_, found = _to_the_end(reading)
    assert "seq 5 is the first entry and no checkpoint covers" in (found.broken or "")


def test_workers_that_keep_at_once_seal_one_checkpoint(
    entries: list[AuditRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has looked before the first sealed, and comes to write after it."""
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SLACK", checkpoint.CHECKPOINT_SLACK * 0)
    worth = utc_text(utc_now() + timedelta(seconds=1))
    checkpoint.seal_before(worth, "beacon", entries[-1].timestamp + "~")
    with pytest.raises(checkpoint.NothingToDelete):
        checkpoint.seal_before(worth, "beacon", entries[-1].timestamp)
    assert seqs() == [1, 2, 3, 4, 5, 6, 7]


def test_retention_lets_go_once_and_not_at_every_look(
    entries: list[AuditRow], outsider: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkpoint.apply_retention(30, "beacon") == 0
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SLACK", checkpoint.CHECKPOINT_SLACK * 0)
    assert checkpoint.apply_retention(0, "beacon") == 6
    assert verify().broken is None
    monkeypatch.undo()
    assert checkpoint.apply_retention(0.5, "beacon") == 0
    assert seqs() == [7]


def test_nothing_to_let_go_is_said(entries: list[AuditRow]) -> None:
    with pytest.raises(checkpoint.NothingToDelete):
        checkpoint.seal_before("2001-01-01", "ada")

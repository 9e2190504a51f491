"""Logins and refusals in the audit: who, from where; however often somebody tries, a minute has two entries."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from app.audit import attempt_log, maintenance
from app.audit.attempt_log import Attempt, AttemptRecorder, network_of
from app.audit.models import AttemptCount, AuditRow
from app.audit.verify import verify
from app.db import read, write
from tests.support.cast import ADA, ALICE, PASSWORD, Person, headers_of, log_in, log_out, logged_in

LATER = "2999-01-01T00:00:00.000Z"


@pytest.fixture(autouse=True)
def _one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test may begin at the end of a minute."""
    monkeypatch.setattr(attempt_log, "utc_text", lambda: "2026-11-21T12:00:30.000Z")


def entries(app: Flask, action_type: str) -> list[AuditRow]:
    wanted = sa.select(AuditRow).where(AuditRow.action_type == action_type).order_by(AuditRow.seq)
    with app.app_context(), read() as session:
        return list(session.scalars(wanted))


def counted(app: Flask) -> list[int]:
    with app.app_context(), read() as session:
        return list(session.scalars(sa.select(AttemptCount.count)))


def test_a_login_and_a_logout_are_entries_with_their_address(cast: Flask) -> None:
    log_out(logged_in(cast, ALICE))
    for action in ("login", "logout"):
        [entry] = entries(cast, action)
        assert (entry.actor, entry.target, entry.outcome, entry.origin) == ("alice", "alice", "success", "127.0.0.1")


def test_failures_of_a_minute_are_one_entry_at_once_and_one_when_it_is_over(cast: Flask) -> None:
    client = cast.test_client()
    for _ in range(5):
        assert log_in(client, ALICE, "wrong").status_code == 401
    [first] = entries(cast, "login-failed")
    assert (first.target, first.outcome, first.origin) == ("alice", "failure", "127.0.0.1")
    with cast.app_context():
        assert attempt_log.write_summaries(LATER) == 1
        assert attempt_log.write_summaries(LATER) == 0
        assert verify().broken is None
    [_, second] = entries(cast, "login-failed")
    assert json.loads(second.command_params_json or "") == {"again": 4, "minute": "2026-11-21T12:00Z"}


def test_what_was_typed_as_a_name_and_is_none_is_not_told(cast: Flask) -> None:
    for name in (PASSWORD, "a\0b", "x" * 5_000):
        log_in(cast.test_client(), Person(name, "viewer"), "wrong")
    [entry] = entries(cast, "login-failed")
    assert entry.target == "(no such user)"
    assert counted(cast) == [2]


def test_many_addresses_in_one_minute_are_counted_together(cast: Flask) -> None:
    with cast.app_context(), write() as session:
        for number in range(attempt_log.MAX_GROUPS_PER_MINUTE + 20):
            attempt_log.record_attempt(session, Attempt("login-failed", "anonymous", "alice", f"203.0.113.{number}"))
    found = entries(cast, "login-failed")
    assert len(found) == attempt_log.MAX_GROUPS_PER_MINUTE + 1
    assert found[-1].origin == attempt_log.OTHERS


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("", ""),
        ("x" * 100, "x" * 64),
    ],
)
def test_neighbours_of_version_6_count_as_one(address: str, wanted: str) -> None:
    assert network_of(address) == wanted


def test_a_refused_action_is_an_entry_with_role_and_route(cast: Flask) -> None:
    headers = headers_of(cast, ALICE, "read")
    for _ in range(3):
        assert cast.test_client().post("/api/flash", json={}, headers=headers).status_code == 403
    browser = logged_in(cast, ALICE)
    assert browser.get("/admin/services").status_code == 403
    [entry] = entries(cast, "refused")
    assert (entry.actor, entry.target, entry.outcome) == ("alice", "POST /api/flash", "failure")
    assert json.loads(entry.command_params_json or "") == {"role": "viewer"}


def test_what_an_administrator_may_is_no_refusal(cast: Flask) -> None:
    headers = headers_of(cast, ADA, "admin")
    cast.test_client().post("/services", json={}, headers=headers)
    assert entries(cast, "refused") == []


def test_who_is_refused_hears_that_also_where_it_cannot_be_recorded_and_it_is_recorded_later(
    cast: Flask, database: Path
) -> None:
    headers = headers_of(cast, ALICE, "read")
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("ALTER TABLE audit_gathered RENAME TO away")
        assert cast.test_client().post("/api/flash", json={}, headers=headers).status_code == 403
        assert entries(cast, "refused") == []
        connection.execute("ALTER TABLE away RENAME TO audit_gathered")
    with cast.app_context():
        cast.extensions["beacon"].attempt_recorder.flush()
    assert len(entries(cast, "refused")) == 1


def test_a_worker_that_ends_writes_what_it_only_counted(cast: Flask) -> None:
    attempt = Attempt("refused", "alice", "POST /x", "127.0.0.1", "viewer")
    with cast.app_context():
        for _ in range(5):
            cast.extensions["beacon"].attempt_recorder.record(attempt)
    assert counted(cast) == [0]
    maintenance.ShutdownFlush(cast).stop()
    assert counted(cast) == [4]


def test_what_was_only_counted_is_written_by_the_flush(cast: Flask) -> None:
    attempts, attempt = AttemptRecorder(), Attempt("refused", "alice", "POST /x", "127.0.0.1", "viewer")
    with cast.app_context():
        for _ in range(1_000):
            attempts.record(attempt)
        attempts.flush()
    assert (len(entries(cast, "refused")), counted(cast)) == (1, [999])

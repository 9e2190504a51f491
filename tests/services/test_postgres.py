"""The rules that the database keeps, and the log over it, on a real PostgreSQL."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from flask import Flask

from app import create_app
from app.audit import attempt_log, chain, checkpoint
from app.audit.models import AuditRow
from app.audit.verify import ExpectedHead, verify
from app.config import Settings
from app.db import db, read, write
from app.eventlog import reader as log
from app.eventlog.append import NewEvent, append
from app.eventlog.models import build_activity_condition
from app.flags import embedded
from app.flags.evaluation import Flag
from app.infra import lock_holders
from app.reconciliation import incidents
from tests.notifications import scene
from tests.support.application import stop
from tests.support.cast import ALICE, BOB, headers_of, join, publish
from tests.support.machine import scaled
from tests.support.postgres import Postgres
from tests.support.sse_client import open_stream
from tests.support.waiting import wait_for
from tests.web import record_scene


@pytest.fixture
def outsider(app: Flask, settings: Settings) -> Iterator[psycopg.Connection]:
    """Another program with the right to write to the database."""
    address = settings.database_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


@pytest.fixture
def streaming(app: Flask) -> Flask:
    """Alice may stream, and the live half runs."""
    join(app, ALICE)
    with app.app_context(), write() as session:
        embedded.change_rollout(session, Flag.SSE_STREAMING, "test", "a test", 100)
    app.extensions["beacon"].background.start()
    return app


def test_the_activity_is_read_by_its_index(app: Flask) -> None:
    with app.app_context(), read() as session:
        session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        condition = build_activity_condition("postgresql")
        plan = session.execute(sa.text(f"EXPLAIN SELECT id FROM event WHERE {condition} ORDER BY id DESC LIMIT 50"))
        assert "ix_event_activity" in str(plan.all())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET type = 'forged'",
        "TRUNCATE event",
        "INSERT INTO event (id, type, data_json) VALUES (1, 'forged', '{}')",
        "UPDATE command_audit SET actor = 'nobody'",
        "DELETE FROM command_audit",
        "TRUNCATE command_audit",
        "INSERT INTO command_audit SELECT * FROM command_audit ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
        "INSERT INTO command_audit SELECT * FROM command_audit ON CONFLICT (seq) DO UPDATE SET actor = 'nobody'",
        (
            "INSERT INTO command_audit (id, actor, action_type, target, outcome, seq, prev_hash, hash)"
            " SELECT 'x', 'a', 'b', 'c', 'success', 9223372036854775807, hash, 'h' FROM command_audit LIMIT 1"
        ),
        (
            "INSERT INTO command_audit (id, actor, action_type, target, outcome, seq, prev_hash, hash)"
            " SELECT 'x', 'a', 'b', 'c', 'success', max(seq) + 1, 'made up', 'h' FROM command_audit"
        ),
        "UPDATE discrepancy_event SET service = 'other'",
        "DELETE FROM discrepancy_event",
        "TRUNCATE discrepancy_event",
    ],
)
def test_the_database_itself_refuses_to_change_the_past(
    app: Flask, outsider: psycopg.Connection, statement: str
) -> None:
    join(app, ALICE)
    publish(app, NewEvent("before", {}))
    outsider.execute(
        "INSERT INTO discrepancy_event (id, service, status, counts_json, checksum, latency_ms)"
        " VALUES ('d1', 'mail', 'verified', '{}', 'x', 1)"
    )
    with pytest.raises((psycopg.errors.RaiseException, psycopg.errors.GeneratedAlways)):
        outsider.execute(statement.encode())


def test_a_row_inserted_by_hand_reaches_an_open_stream(streaming: Flask, outsider: psycopg.Connection) -> None:
    with open_stream(streaming.test_client(), headers=headers_of(streaming, ALICE)) as stream:
        stream.until("hello")
        outsider.execute("INSERT INTO event (type, data_json) VALUES ('by.hand', '{\"n\": 1}')")
        assert stream.until("by.hand")[-1].json()["data"] == {"n": 1}


def test_an_id_taken_early_and_committed_late_is_never_skipped(app: Flask, outsider: psycopg.Connection) -> None:
    """The writer that comes second waits for the first, so ids become visible in order."""
    second: list[int] = []
    writer = threading.Thread(target=lambda: second.extend(publish(app, NewEvent("second", {}))))
    with outsider.transaction():
        first = outsider.execute("INSERT INTO event (type, data_json) VALUES ('first', '{}') RETURNING id").fetchone()
        writer.start()
        wait_for(lambda: _is_waiting(app), "the second writer to wait for the lock")
        assert second == []
    writer.join(scaled(5))
    assert first is not None
    assert second[0] > first[0]


def _is_waiting(app: Flask) -> bool:
    statement = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with app.app_context(), read() as session:
        return session.connection().exec_driver_sql(statement).scalar_one() > 0


def test_the_floor_follows_deleted_rows(app: Flask, outsider: psycopg.Connection) -> None:
    ids = publish(app, *(NewEvent("old", {}) for _ in range(3)))
    outsider.execute("DELETE FROM event WHERE id <= %s", (ids[1],))
    with app.app_context(), read() as session:
        assert log.floor(session) == ids[1]
        assert log.head(session) == ids[2]


def test_the_audit_chain_holds_under_writers_at_once(app: Flask) -> None:
    def record(n: int) -> None:
        with app.app_context(), write() as session:
            chain.record(session, chain.Entry("test", "try", f"target-{n}"))
            append(session, [NewEvent("tried", {"n": n})])

    writers = [threading.Thread(target=record, args=(n,)) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(scaled(10))
    with app.app_context():
        found = verify()
    assert (found.count, found.broken) == (8, None)


def test_attempts_are_gathered_and_told_when_their_minute_is_over(app: Flask) -> None:
    attempt = attempt_log.Attempt("refused", "alice", "POST /x", "127.0.0.1", "viewer")

    def note() -> None:
        with app.app_context(), write() as session:
            attempt_log.record_attempt(session, attempt)

    writers = [threading.Thread(target=note) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(scaled(10))
    with app.app_context():
        assert attempt_log.write_summaries("2999-01-01T00:00:00.000Z") in (1, 2)  # the minute may have turned
        assert attempt_log.write_summaries("2999-01-01T00:00:00.000Z") == 0
        assert verify().broken is None
        with read() as session:
            told = session.scalars(sa.select(AuditRow.command_params_json)).all()
    times = [json.loads(text or "{}").get("again", 1) for text in told]
    assert sum(times) == len(writers)


def test_noting_and_telling_do_not_wait_for_each_other(app: Flask, outsider: psycopg.Connection) -> None:
    """What `note` does, stopped halfway, while another worker tells what was gathered."""
    row = "('refused', 'alice', 'POST /x', '127.0.0.1', '2020-01-01T00:00', 3)"
    outsider.execute(f"INSERT INTO audit_gathered VALUES {row}".encode())
    told: list[int] = []

    def tell() -> None:
        with app.app_context():
            told.append(attempt_log.write_summaries())

    teller = threading.Thread(target=tell)
    with outsider.transaction():
        outsider.execute("SELECT pg_advisory_xact_lock(4207001)")
        teller.start()
        wait_for(lambda: _is_waiting(app), "the teller to wait for the lock of the chain")
        outsider.execute("SET LOCAL lock_timeout = 500")
        outsider.execute("UPDATE audit_gathered SET count = count + 1")
    teller.join(scaled(10))
    assert told == [1]


def test_old_entries_of_the_audit_go_only_under_a_checkpoint(app: Flask, outsider: psycopg.Connection) -> None:
    with app.app_context():
        for n in range(4):
            with write() as session:
                chain.record(session, chain.Entry("test", "try", f"ü-{n}", params={"n": None, "path": "a\\b"}))
        before = verify()
        assert (before.count, before.broken) == (4, None)
        made = checkpoint.seal_before("2999-01-01", "test")
        for statement in (
            "DELETE FROM command_audit",
            "INSERT INTO audit_checkpoint VALUES (4, 3, 'x')",
            "UPDATE audit_checkpoint SET through_seq = 5",
            "DELETE FROM audit_checkpoint",
            "TRUNCATE audit_checkpoint",
        ):
            with pytest.raises(psycopg.errors.RaiseException):
                outsider.execute(statement.encode())
        assert checkpoint.delete_covered() == 4
        found = verify(expected=ExpectedHead(before.head, 4))
        assert (found.count, found.deleted_through, found.broken, made.through_hash) == (1, 4, None, before.head)
        with pytest.raises(psycopg.errors.RaiseException):
            outsider.execute(
                "INSERT INTO command_audit (id, actor, action_type, target, outcome, seq, prev_hash, hash)"
                " VALUES ('x', 'a', 'b', 'c', 'success', 2, 'p', 'h')"
            )


def test_pages_of_the_audit_are_read_on_postgresql_too(app: Flask) -> None:
    join(app, ALICE)
    headers = headers_of(app, ALICE, "read")
    address = "/reconciliation/audit?limit=1"
    first = app.test_client().get(address, headers=headers).get_json()
    second = app.test_client().get(f"{address}&cursor={first['meta']['next']}", headers=headers).get_json()
    assert [page["data"][0]["actionType"] for page in (first, second)] == ["token-create", "user-add"]
    for query in ("q=ALICE", "actor=test&outcome=success", "sortBy=actor", "startDate=2001-01-01&endDate=2999-01-01"):
        found = app.test_client().get(f"/reconciliation/audit?{query}", headers=headers).get_json()
        assert len(found["data"]) == 2, query


def test_episodes_and_what_people_are_told_of_them_are_kept_on_postgresql_too(app: Flask) -> None:
    record_scene.watched(app, "mail")
    first = record_scene.happened("mail", "discrepancy", record_scene.at(1), ["a", "b"])
    record_scene.put(
        app,
        first,
        record_scene.happened("mail", "stale", record_scene.at(2), reason="answered 500"),
        record_scene.happened("mail", "discrepancy", record_scene.at(3), ["b"], episode=first.id),
        record_scene.item("mail", "a", "missing", record_scene.at(1), at=record_scene.at(3), how="finished"),
    )
    with app.app_context(), read() as session:
        found = incidents.read_incidents(session, incidents.IncidentFilter(), incidents.START_POSITION, 10, None)
        still = incidents.read_incidents(
            session, incidents.IncidentFilter(is_open=True), incidents.START_POSITION, 10, None
        )
    assert [(one.status, one.reason, len(one.closings)) for one in found] == [
        ("stale", "answered 500", 0),
        ("discrepancy", None, 1),
    ]
    assert [one.id for one in still] == [first.id]
    for status, more in (
        ("stale", {"findings": [scene.finding("flapping", count=4)]}),
        ("stale", {}),
        ("verified", {}),
    ):
        scene.poll(app, status, **more)
    assert scene.titles(app) == ["Mail is flapping", "Mail is stale", "Mail answers again"]


def test_a_server_that_crashes_leaves_streams_open_and_all_goes_on_when_it_is_back(
    streaming: Flask, postgres: Postgres
) -> None:
    client, headers = streaming.test_client(), headers_of(streaming, ALICE, "stream", "read")
    with open_stream(client, headers=headers) as stream:
        stream.until("hello")
        postgres.stop()
        try:
            wait_for(lambda: stream.until("heartbeat")[-1].json()["degraded"], "a degraded heartbeat")
            assert client.get("/api/events", headers=headers).status_code == 503
        finally:
            postgres.start()
        wait_for(lambda: not stream.until("heartbeat")[-1].json()["degraded"], "a good heartbeat")
        publish(streaming, NewEvent("back.again", {}))
        assert stream.until("back.again")[-1].event == "back.again"


def test_a_database_that_takes_no_writes_is_said_to_be_that_and_goes_on_reading(
    app: Flask, settings: Settings, outsider: psycopg.Connection
) -> None:
    """As after a failover to a standby."""
    join(app, ALICE, BOB)
    reading, publishing = headers_of(app, ALICE, "read"), headers_of(app, BOB, "publish")
    name = settings.database_url.rpartition("/")[2]
    outsider.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    with app.app_context():
        db.engine.dispose()  # new connections meet it
    client = app.test_client()
    refused = client.post("/api/events", json={"type": "a", "data": {}}, headers=publishing)
    assert (refused.status_code, refused.content_type) == (503, "application/problem+json")
    assert refused.get_json()["reason"] == "read-only"
    assert "read-only" in refused.get_json()["detail"]
    assert client.get("/api/events", headers=reading).status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.get_json()["parts"]["database"]) == (503, "read-only")


def test_a_database_that_was_never_migrated_says_what_to_do(postgres: Postgres, tmp_path: Path) -> None:
    app = create_app(Settings(instance_dir=tmp_path, database_url=postgres.new_database(), secret_key="k"))
    try:
        answer = app.test_client().get("/api/events", headers={"Authorization": "Bearer bcn_x"})
        assert (answer.status_code, answer.get_json()["reason"]) == (503, "not-migrated")
        assert "beacon migrate" in answer.get_json()["detail"]
        assert app.test_client().get("/readyz").get_json()["parts"]["database"] == "not migrated"
    finally:
        stop(app)


def test_a_session_with_an_open_insert_is_named_by_the_log_and_the_doctor(
    app: Flask, settings: Settings, outsider: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    join(app, BOB)
    publishing = headers_of(app, BOB, "publish")
    outsider.execute("SET application_name = 'nightly import'")
    with outsider.transaction():
        outsider.execute("INSERT INTO event (type, data_json) VALUES ('open', '{}')")
        refused = app.test_client().post("/api/events", json={"type": "a", "data": {}}, headers=publishing)
        with app.app_context():
            (holder,) = lock_holders.find_writers()
    assert (refused.status_code, refused.get_json()["reason"]) == (503, "busy")
    assert "waiting for a lock" in refused.get_json()["detail"]
    assert "changed" not in refused.get_json()["detail"], "its transaction had begun"
    (line,) = [line for line in caplog.messages if line.startswith("the database is busy")]
    assert f"nightly import from 127.0.0.1 (pid {outsider.info.backend_pid}), idle in transaction" in line
    assert (holder.pid, holder.doing) == (outsider.info.backend_pid, "idle in transaction")

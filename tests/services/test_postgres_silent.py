"""PostgreSQL that says nothing at all: its packets are lost, or its processes stand still."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from app import create_app
from app.config import Settings
from app.db import read, set_statement_timeout, write
from app.eventlog.append import NewEvent
from app.flags import embedded
from app.flags.evaluation import Flag
from app.infra import database_errors, postgres
from tests.support.application import stop
from tests.support.cast import ALICE, headers_of, join, publish
from tests.support.machine import scaled
from tests.support.postgres import Postgres
from tests.support.sse_client import open_stream
from tests.support.stalling_proxy import StallingProxy
from tests.support.waiting import wait_for

HEARTBEAT_S = 0.2
# From the last heartbeat that may be wrong to the first that may not: a second between two looks, and the look.
DEAF_WITHIN_S = 6.0

# When the tail counts as deaf, and what one call may last: so short that several fail while the database is silent, and
# long enough for a busy machine.
DEAF_AFTER_S = min(scaled(1.0), 4.0)
ANSWER_S, CONNECT_S = 1.5 * DEAF_AFTER_S, 1

Silence = Callable[[], contextlib.AbstractContextManager[None]]


@pytest.fixture
def path(postgres: Postgres) -> Iterator[StallingProxy]:
    with StallingProxy(postgres.port) as made:
        yield made


@pytest.fixture
def settings(postgres: Postgres, path: StallingProxy, tmp_path: Path) -> Settings:
    address = postgres.migrated_database().replace(f":{postgres.port}/", f":{path.port}/")
    return Settings(instance_dir=tmp_path, database_url=address, secret_key="for the tests", heartbeat_s=HEARTBEAT_S)


@pytest.fixture(autouse=True)
def _short_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.eventlog.tail.STALLED_AFTER_S", DEAF_AFTER_S)
    monkeypatch.setattr(postgres, "RESPONSE_TIMEOUT_S", ANSWER_S)
    monkeypatch.setattr(postgres.Connection, "response_timeout_s", ANSWER_S)
    monkeypatch.setitem(postgres._CONNECTION_DEFAULTS, "connect_timeout", CONNECT_S)


@pytest.fixture
def streaming(settings: Settings) -> Iterator[Flask]:
    app = create_app(settings)
    join(app, ALICE)
    with app.app_context(), write() as session:
        embedded.change_rollout(session, Flag.SSE_STREAMING, "test", "a test", 100)
    app.extensions["beacon"].background.start()
    yield app
    stop(app)


@pytest.fixture(params=["packets are lost", "processes stand still"])
def silence(request: pytest.FixtureRequest, postgres: Postgres, path: StallingProxy) -> Silence:
    """For the length of a block the database is silent in this way."""
    begin, end = (path.stall, path.go_on) if request.param == "packets are lost" else (postgres.freeze, postgres.thaw)

    @contextlib.contextmanager
    def silent() -> Iterator[None]:
        begin()
        try:
            yield
        finally:
            end()

    return silent


def test_a_silent_database_is_said_at_once_logged_once_and_loses_nothing(
    streaming: Flask, silence: Silence, caplog: pytest.LogCaptureFixture
) -> None:
    client = streaming.test_client()
    with open_stream(client, headers=headers_of(streaming, ALICE)) as stream:
        stream.until("hello")
        before = publish(streaming, NewEvent("before", {}))
        stream.until("before")
        caplog.clear()
        caplog.set_level(logging.WARNING, "app.eventlog.tail")
        with silence():
            began = time.monotonic()
            wait_for(lambda: stream.until("heartbeat")[-1].json()["degraded"], "a degraded heartbeat", DEAF_WITHIN_S)
            refused = client.get("/readyz")
            assert refused.status_code == 503
            assert refused.get_json()["parts"] == {"database": "no answer", "log": "degraded", "streams": "ok"}
            # Longer than any call may last: looks fail, are begun anew and fail again.
            while time.monotonic() - began < ANSWER_S + CONNECT_S + 2:
                assert stream.until("heartbeat")[-1].json()["degraded"]
        wait_for(lambda: not stream.until("heartbeat")[-1].json()["degraded"], "a good heartbeat", 15)
        after = publish(streaming, NewEvent("after", {}))
        heard = [event for event in stream.until("after") if event.event in ("before", "after")]
        assert [int(event.id) for event in heard] == after
        assert after[0] > before[0]
        wait_for(lambda: client.get("/readyz").status_code == 200, "readiness", 10)
    said = [record.getMessage().partition(",")[0] for record in caplog.records if record.name == "app.eventlog.tail"]
    assert said == ["database is unavailable", "database is back"]
    caplog.clear()  # whose tracebacks hold the connections that could not be made


def test_every_call_to_a_silent_database_ends(streaming: Flask, silence: Silence) -> None:
    """Requests of all kinds; without the deadline the first of them would wait for as long as the silence."""
    client, reading = streaming.test_client(), headers_of(streaming, ALICE, "read", "stream")
    streaming.extensions["beacon"].background.stop()
    with silence():
        for path in ("/api/events", "/services/registered", "/reconciliation/audit", "/api/stream/events"):
            refused = client.get(path, headers=reading)
            assert (refused.status_code, refused.get_json()["reason"]) == (503, "unreachable"), path


def test_a_statement_that_runs_too_long_is_ended_by_the_server_and_its_connection_stays(streaming: Flask) -> None:
    with streaming.app_context(), read() as session:
        connection = session.connection()
        connection.exec_driver_sql("SET LOCAL statement_timeout = 100")
        with pytest.raises(sa.exc.OperationalError, match="statement timeout") as ended:
            connection.exec_driver_sql("SELECT pg_sleep(60)")
        assert not ended.value.connection_invalidated
    assert database_errors.classify_error(ended.value).state == "slow"


def test_longer_statements_are_allowed_for_one_transaction_only(streaming: Flask) -> None:
    """The client waits longer, too: otherwise it would give up before the server."""

    def bounds(session: Session) -> tuple[str, float]:
        connection = session.connection()
        driver = connection.connection.dbapi_connection
        assert driver is not None
        return connection.exec_driver_sql("SHOW statement_timeout").scalar(), driver.response_timeout_s

    streaming.extensions["beacon"].background.stop()
    with streaming.app_context():
        with read() as session:
            set_statement_timeout(session.connection(), 60)
            shown, waits = bounds(session)
            assert (shown, waits > 60) == ("1min", True)
        with read() as session:
            assert bounds(session) == ("5s", ANSWER_S)

"""`/healthz`, `/readyz` and the headers that every answer carries."""

import threading
from collections.abc import Callable
from functools import partial

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from app.db import db, read
from app.monitoring import readiness
from app.monitoring.models import WriteProbe
from app.monitoring.readiness import Readiness
from tests.support.cast import ALICE, BOB, headers_of, logged_in
from tests.support.waiting import wait_for


def test_alive_without_database_or_login(app: Flask, move_database: Callable[[], Callable[[], None]]) -> None:
    move_database()
    response = app.test_client().get("/healthz")
    assert (response.status_code, response.get_json()) == (200, {"status": "ok"})


def test_not_ready_before_the_live_half_runs(app: Flask) -> None:
    response = app.test_client().get("/readyz")
    assert response.status_code == 503
    assert response.get_json()["parts"] == {"database": "ok", "log": "not started", "streams": "ok"}


def test_ready_when_it_runs(live_app: Flask) -> None:
    client = live_app.test_client()
    wait_for(lambda: client.get("/readyz").get_json()["status"] == "ready", "the first write to come back")
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("pragma", "state"), [("max_page_count = 1", "full"), ("query_only = ON", "read-only")], ids=["full", "read-only"]
)
def test_a_database_that_answers_and_takes_no_writes_is_not_ready(live_app: Flask, pragma: str, state: str) -> None:
    """It is the same to every look: only a write tells."""
    client, headers = live_app.test_client(), headers_of(live_app, BOB, "read")
    wait_for(lambda: client.get("/readyz").get_json()["parts"]["database"] == "ok", "the first write to come back")
    live_app.extensions["beacon"].readiness = Readiness(live_app)  # one that has not written yet
    with live_app.app_context():
        engine, limit = db.engine, partial(_limit, pragma)
        sa.event.listen(engine, "begin", limit)
        try:
            refused = client.get("/readyz")
            assert (refused.status_code, refused.get_json()["parts"]["database"]) == (503, state)
            assert client.get("/api/events", headers=headers).status_code == 200
        finally:
            sa.event.remove(engine, "begin", limit)
            engine.dispose()
    wait_for(lambda: client.get("/readyz").status_code == 200, "readiness to come back")


def _limit(pragma: str, connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"PRAGMA {pragma}")


def test_a_server_whose_first_write_has_not_come_back_is_not_ready(
    live_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_done = threading.Event()
    monkeypatch.setattr(readiness, "MAX_WAIT_S", 0.05)
    monkeypatch.setattr(Readiness, "_read", lambda _: "ok")
    monkeypatch.setattr(Readiness, "_write", lambda _: "ok" if is_done.wait(60) else "")
    fresh = live_app.extensions["beacon"].readiness = Readiness(live_app)
    client = live_app.test_client()
    wait_for(lambda: fresh.database_state() == "no answer", "the reading to be done")
    assert client.get("/readyz").status_code == 503
    is_done.set()
    wait_for(lambda: client.get("/readyz").status_code == 200, "the first write to be seen")


def test_a_check_that_ends_in_an_unexpected_way_is_no_answer(live_app: Flask) -> None:
    answers = iter(["ok"])
    check = readiness.BackgroundCheck(lambda: next(answers), 0.0)
    for state in ("ok", "no answer"):
        wait_for(lambda: _checked(check), "the check to be made")
        assert check.state == state


def _checked(check: readiness.BackgroundCheck) -> bool:
    check.start_if_stale()
    return check.wait_until_done(10)


def test_many_who_ask_whether_it_is_ready_cost_one_write(live_app: Flask) -> None:
    client = live_app.test_client()
    wait_for(lambda: client.get("/readyz").status_code == 200, "the first write to come back")
    for _ in range(20):
        assert client.get("/readyz").status_code == 200
    with live_app.app_context(), read() as session:
        (written,) = session.scalars(sa.select(WriteProbe.id)).all()
    assert written == 1


def test_not_ready_while_draining(live_app: Flask) -> None:
    live_app.extensions["beacon"].background.hub.drain()
    response = live_app.test_client().get("/readyz")
    assert (response.status_code, response.get_json()["parts"]["streams"]) == (503, "draining")


def test_the_database_away_is_said_by_pages_and_health_and_passes(
    live_app: Flask, move_database: Callable[[], Callable[[], None]]
) -> None:
    browser = logged_in(live_app, ALICE)
    bring_back = move_database()
    wait_for(lambda: live_app.test_client().get("/readyz").status_code == 503, within_s=10)
    wait_for(lambda: live_app.extensions["beacon"].background.is_degraded(), within_s=10)

    def fails() -> TestResponse | None:
        """A connection that is open still reads the file that was moved, until it is given up."""
        found = browser.get("/", headers={"Accept": "text/html"})
        return found if found.status_code == 503 else None

    page = wait_for(fails, "a page to fail")
    assert page is not None
    assert page.mimetype == "text/html"
    assert "database" in page.text
    assert "Traceback" not in page.text
    answer = browser.get("/api/events", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert int(answer.headers["Retry-After"]) > 0
    bring_back()
    wait_for(lambda: live_app.test_client().get("/readyz").status_code == 200, within_s=10)
    assert browser.get("/").status_code == 200


@pytest.mark.parametrize("path", ["/login", "/healthz", "/no-such-page", "/api/events"])
def test_every_answer_carries_the_policy(app: Flask, path: str) -> None:
    headers = app.test_client().get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_requests_give_their_connection_back(live_app: Flask) -> None:
    browser = logged_in(live_app, ALICE)
    for path in ("/", "/api/events", "/readyz", "/no-such-page", "/login"):
        browser.get(path)
    with live_app.app_context():
        wait_for(lambda: db.engine.pool.checkedout() == 0)  # type: ignore[attr-defined]  # the queue pool's own

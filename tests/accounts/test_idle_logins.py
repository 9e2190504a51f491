"""A login that no person uses ends; what pages do by themselves does not keep it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from app.accounts.models import LoginSession
from app.audit.models import AuditRow
from app.config import Settings
from app.db import db, read, write
from app.infra.clock import utc_now, utc_text
from app.web import idle_logins
from tests.support.cast import ALICE, BOB, csrf_token, log_in, logged_in, page_token
from tests.support.sse_client import open_stream

JSON = {"Accept": "application/json"}
# As Chromium and Firefox ask for a page that somebody opens.
OPENED = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
NAVIGATED = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"session_idle_hours": 1.0})


def used_ago(app: Flask, minutes: float) -> None:
    moment = utc_text(utc_now() - timedelta(minutes=minutes))
    with app.app_context(), write() as session:
        session.execute(db.update(LoginSession).values(last_active_at=moment))


def is_in(client: FlaskClient) -> bool:
    return client.get("/api/events", headers=JSON).status_code == 200


def is_fresh(app: Flask) -> bool:
    with app.app_context(), read() as session:
        return str(session.scalar(sa.select(LoginSession.last_active_at))) > utc_text(utc_now() - timedelta(minutes=1))


def test_it_ends_after_an_hour_in_which_nobody_used_it(cast: Flask) -> None:
    browser = logged_in(cast, ALICE)
    used_ago(cast, 59)
    assert is_in(browser)
    used_ago(cast, 61)
    assert not is_in(browser)
    answer = browser.get("/audit", headers=OPENED)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login?next=/audit")


@pytest.mark.parametrize(
    ("use", "counts"),
    [
        (lambda browser: browser.get("/", headers=OPENED), True),
        (lambda browser: browser.get("/audit", headers=NAVIGATED), True),
        (lambda browser: browser.post("/notifications/dismiss", headers=JSON), True),
        (lambda browser: browser.get("/", headers={"Accept": "text/html"}), False),
        (lambda browser: browser.get("/", headers={**OPENED, "Sec-Fetch-Mode": "cors"}), False),
        (lambda browser: browser.get("/api/events", headers=JSON), False),
        (lambda browser: browser.get("/api/events/frames?after=0", headers=JSON), False),
        (lambda browser: browser.get("/notifications/panel", headers={"Accept": "text/html"}), False),
        (page_token, False),
        (lambda browser: browser.post("/api/client-reports", json={}), False),
        (lambda browser: browser.post("/audit/client-error", json={"message": "x"}), False),
        (lambda browser: browser.get("/healthz", headers=OPENED), False),
    ],
)
def test_what_a_person_does_keeps_it_and_what_a_page_does_does_not(
    cast: Flask, use: Callable[[FlaskClient], object], counts: bool
) -> None:
    browser = logged_in(cast, ALICE)
    used_ago(cast, 30)
    use(browser)
    assert is_fresh(cast) is counts


def test_a_page_that_was_just_used_writes_nothing(cast: Flask) -> None:
    browser = logged_in(cast, ALICE)
    used_ago(cast, 4)
    browser.get("/", headers=OPENED)
    assert not is_fresh(cast)


def test_what_pages_do_by_themselves_is_named_right(cast: Flask) -> None:
    assert {rule.endpoint for rule in cast.url_map.iter_rules()} >= idle_logins.AUTOMATIC_ENDPOINTS


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"last_active_at": "2020-01-01T00:00:00.000Z"}, "idle"), ({"expires_at": "2020-01-01T00:00:00.000Z"}, "expired")],
)
def test_streams_of_a_login_end_with_it_and_the_audit_says_why(
    live_app: Flask, change: dict[str, str], reason: str
) -> None:
    browser, other = logged_in(live_app, ALICE), logged_in(live_app, BOB)
    with open_stream(browser, "/api/stream/events") as here, open_stream(other, "/api/stream/events") as there:
        assert here.until("hello")
        assert there.until("hello")
        with live_app.app_context():
            first = sa.select(LoginSession.id).limit(1).order_by(LoginSession.created_at)
            with write() as session:
                session.execute(
                    db.update(LoginSession).where(LoginSession.id == session.scalar(first)).values(**change)
                )
            assert (idle_logins.end_idle_logins(), idle_logins.end_idle_logins()) == (1, 0)
        assert here.rest()[-1].json()["reason"] == "revoked"
        assert there.until("heartbeat")
    with live_app.app_context(), read() as session:
        row = session.scalars(sa.select(AuditRow).where(AuditRow.action_type == "logout")).one()
        assert (row.actor, row.target) == ("beacon", "alice")
        assert f'"{reason}"' in str(row.after_state_json)
    assert is_in(other)


@pytest.mark.sqlite("PostgreSQL has no lock that holds all writers")
def test_a_database_that_takes_no_writes_still_shows_pages(cast: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = logged_in(cast, ALICE)
    used_ago(cast, 30)
    with cast.app_context():
        holder = db.engine.connect().execution_options(beacon_writing=True)
        holder.exec_driver_sql("SELECT 1")
        try:
            assert browser.get("/", headers=OPENED).status_code == 200
        finally:
            holder.rollback()
            holder.close()
    assert not is_fresh(cast)


def test_a_form_that_waited_over_night_leads_back_through_the_login(cast: Flask) -> None:
    browser = logged_in(cast, ALICE)
    token = csrf_token(browser, "/")
    used_ago(cast, 600)
    assert browser.post("/notifications/dismiss", data={"csrf_token": token}, headers=JSON).status_code == 401
    assert log_in(browser, ALICE).status_code == 303

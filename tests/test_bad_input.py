"""Bad input, over every route there is: what the contract says, never a traceback, no stream left open."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from app.accounts.models import LoginSession
from app.db import db, write
from app.eventlog.append import NewEvent
from app.infra.clock import utc_now, utc_text
from tests.support.cast import ADA, ALICE, BOB, bearer, csrf_token, headers_of, logged_in, publish
from tests.support.hostile_json import as_bytes, many_keys
from tests.support.sse_client import open_stream
from tests.support.waiting import wait_for

STREAMS = ["/api/stream/events", "/reconciliation/stream", "/api/events/stream", "/api/sse"]
OPEN_TO_ALL = {"/login", "/healthz", "/readyz", "/logout", "/widgets/notifications", "/audit/client-error"}
SCOPES = ("stream", "read", "publish", "command", "rollout", "widget", "admin")
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]
WRITING = ("POST", "PUT", "PATCH", "DELETE")
ACCEPTS = ["application/json", "text/html", "*/*", "text/event-stream", ";;;,q=x", ""]


@pytest.fixture(autouse=True)
def _no_mistakes_of_ours(live_app: Flask, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever was sent: no unexpected error in the log, and no stream left behind."""
    caplog.set_level(logging.WARNING)
    yield
    tracebacks = [record.getMessage() for record in caplog.records if record.exc_info]
    assert tracebacks == []
    wait_for(lambda: len(live_app.extensions["beacon"].background.hub) == 0)


@pytest.fixture
def client(live_app: Flask) -> FlaskClient:
    return live_app.test_client()


def addresses(app: Flask) -> list[str]:
    """An address for every route, its variables filled in."""
    return [address_of(rule) for rule in app.url_map.iter_rules()]


def writes(app: Flask) -> list[tuple[str, str]]:
    """Every address with each of its methods that change something."""
    return [
        (address_of(rule), method)
        for rule in app.url_map.iter_rules()
        for method in WRITING
        if method in (rule.methods or ())
    ]


def address_of(rule: Rule) -> str:
    return "/".join("x" if "<" in part else part for part in rule.rule.split("/"))


def is_sound(response: TestResponse) -> None:
    """No mistake of ours, no traceback, and every refusal in the one error shape."""
    assert response.status_code < 500 or response.status_code == 503, response.text
    if response.status_code >= 400:
        assert "Traceback" not in response.text
        if response.mimetype not in ("text/html", "text/plain") and response.data:
            assert response.content_type == "application/problem+json"
            assert response.get_json()["status"] == response.status_code


class TestCredentials:
    def test_no_route_but_the_open_ones_answers_the_anonymous(self, live_app: Flask, client: FlaskClient) -> None:
        for address in addresses(live_app):
            if address in OPEN_TO_ALL or address.startswith("/static/"):
                continue
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                response = client.open(address, method=method, headers={"Accept": "application/json"})
                assert response.status_code in (401, 405), f"{method} {address}: {response.status_code}"

    def test_an_expired_session_is_like_none(self, live_app: Flask) -> None:
        browser = logged_in(live_app, ADA)
        token = csrf_token(browser, "/")
        with live_app.app_context(), write() as session:
            session.execute(db.update(LoginSession).values(expires_at=utc_text(utc_now() - timedelta(seconds=1))))
        for address in addresses(live_app):
            if address in OPEN_TO_ALL or address.startswith("/static/"):
                continue
            response = browser.get(address, headers={"Accept": "application/json"})
            assert response.status_code in (401, 405), address
            response = browser.post(address, headers={"Accept": "application/json", "X-CSRFToken": token})
            assert response.status_code in (401, 405), address
        page = browser.get("/", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["Location"]) == (302, "/login")

    @pytest.mark.parametrize("text", ["", "x", "bcn_", "bcn_" + "x" * 100_000, "\xff", "..", "a.b.c", "' OR 1=1"])
    def test_a_bad_token_opens_nothing(self, client: FlaskClient, text: str) -> None:
        for address in (*STREAMS, "/api/events", "/api/events/frames"):
            assert client.get(address, headers=bearer(text)).status_code == 401

    def test_a_token_of_a_disabled_user_opens_nothing(self, live_app: Flask, client: FlaskClient) -> None:
        headers = headers_of(live_app, ALICE)
        with live_app.app_context(), write() as session:
            session.execute(db.text("UPDATE user SET disabled_at = '2026' WHERE name = 'alice'"))
        assert {client.get(address, headers=headers).status_code for address in STREAMS} == {401}


class TestCursors:
    @pytest.mark.parametrize("path", STREAMS)
    def test_an_unusable_one_gets_exactly_one_reset(self, live_app: Flask, client: FlaskClient, path: str) -> None:
        publish(live_app, NewEvent("a", {}))
        headers = headers_of(live_app, ALICE)
        cursors = ["-1", "1.5", "abc", "9" * 40, "99", "0x1", "%00", "\u0661", "1 2"]
        readers = [
            open_stream(client, path, query_string={"lastEventId": cursor}, headers=headers) for cursor in cursors
        ]
        for reader in readers:
            with reader:
                frames = reader.until("heartbeat")
            assert [(frame.event, frame.id) for frame in frames] == [
                ("hello", None),
                ("reset", "1"),
                ("heartbeat", None),
            ]


class TestBodies:
    @pytest.mark.parametrize("path", ["/api/events", "/api/sse/test", "/login", "/logout", "/api/stream/token"])
    def test_10_mb_are_refused_or_never_read(self, live_app: Flask, client: FlaskClient, path: str) -> None:
        headers = headers_of(live_app, BOB, "publish")
        for content_type in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
            headers["Content-Type"] = content_type
            response = client.post(path, data=b"x" * 10_000_000, headers=headers)
            is_sound(response)
            if path == "/api/events" and content_type == "application/json":
                assert response.status_code == 413

    def test_a_body_of_half_a_million_keys_is_refused_before_it_is_parsed(
        self, live_app: Flask, client: FlaskClient
    ) -> None:
        headers = {**headers_of(live_app, ADA, *SCOPES), "Content-Type": "application/json"}
        response = client.post("/commands/run", data=as_bytes(many_keys()), headers=headers)
        is_sound(response)
        assert response.status_code == 413
        assert "more than 50,000 values" in response.get_json()["detail"]

    def test_an_answer_names_so_many_bad_fields(self, live_app: Flask, client: FlaskClient) -> None:
        headers = {**headers_of(live_app, ADA, *SCOPES), "Content-Type": "application/json"}
        body = as_bytes({f"b{n}": 1 for n in range(20_000)})
        response = client.post("/commands/run", data=body, headers=headers)
        assert response.status_code == 400
        assert len(response.get_json()["errors"]) <= 1_000

    def test_a_huge_form_from_a_browser_is_refused(self, live_app: Flask) -> None:
        browser = logged_in(live_app, ALICE)
        form = {"csrf_token": csrf_token(browser, "/"), "x": "y" * 10_000_000}
        assert browser.post("/login", data=form).status_code == 413

    @pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 60_000, b'"\\ud800"', b"1e999", b"null", b"\0", b"{}" * 99])
    def test_nonsense_is_refused_everywhere(self, live_app: Flask, client: FlaskClient, body: bytes) -> None:
        headers = {**headers_of(live_app, ADA, *SCOPES), "Content-Type": "application/json"}
        for address, method in writes(live_app):
            for accept in ("application/json", "text/html"):
                response = client.open(address, method=method, data=body, headers={**headers, "Accept": accept})
                is_sound(response)
                response.close()  # a verification of the audit that is not read would keep all others waiting
                assert response.status_code not in (405, 500)


class TestMethodsAndAddresses:
    def test_a_wrong_method_is_405_with_what_is_allowed(self, live_app: Flask, client: FlaskClient) -> None:
        headers = headers_of(live_app, ADA, *SCOPES)
        for address in addresses(live_app):
            for method in METHODS:
                response = client.open(address, method=method, headers=headers, buffered=False)
                response.close()
                assert response.status_code < 500, f"{method} {address}"
                if response.status_code == 405:
                    assert response.headers["Allow"]
                    assert response.content_type == "application/problem+json"

    @pytest.mark.parametrize(
        "path",
        ["/nope", "/api/nope", "/%00", "/%ff", "/../etc/passwd", "/static/x/../../app/config.py", "/login/", "//",
         "/static/x/%2e%2e/wsgi.py", "/services/" + "x" * 9_000, "/api/events/", "/static/",
         "/services/%0d%0aSet-Cookie:a=b"],
    )  # fmt: skip
    def test_an_address_that_is_none(self, live_app: Flask, path: str) -> None:
        browser = logged_in(live_app, ALICE)
        for accept in ACCEPTS:
            response = browser.get(path, headers={"Accept": accept})
            is_sound(response)
            assert response.status_code in (301, 308, 400, 404)
            assert "Set-Cookie:a" not in str(response.headers)


@pytest.mark.parametrize("accept", ACCEPTS)
def test_a_refusal_is_a_page_for_browsers_and_a_problem_for_programs(live_app: Flask, accept: str) -> None:
    response = logged_in(live_app, ALICE).get("/nope", headers={"Accept": accept} if accept else {})
    assert response.status_code == 404
    assert response.mimetype == ("text/html" if accept == "text/html" else "application/problem+json")
    assert response.headers["Cache-Control"] == "no-store"


QUERY = st.dictionaries(
    st.sampled_from(["after", "limit", "topics", "as", "lastEventId", "next", "refresh", "state", "page", "sortBy"]),
    st.text(max_size=20) | st.sampled_from(["-1", "0", "99999999999999999999", "*", "a.*", "html", "\0", "//[", "é"]),
    max_size=4,
)
HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30)


# The application's own threads ask flags meanwhile, and UnleashClient draws a number for each question.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@given(data=st.data())
@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_no_query_and_no_header_makes_a_mistake_of_ours(live_app: Flask, data: st.DataObject) -> None:
    """Any question to any address, by anyone, is answered soundly; a stream that opens is closed again."""
    client, headers = asker(live_app)
    address = data.draw(st.sampled_from(sorted(set(addresses(live_app)))), "address")
    sent: dict[str, Any] = {
        "Accept": data.draw(st.sampled_from(ACCEPTS), "accept"),
        "Last-Event-ID": data.draw(HEADER, "last event id"),
        "Authorization": data.draw(st.sampled_from([headers["Authorization"], "Bearer x", "Basic !"]) | HEADER, "auth"),
    }
    query = data.draw(QUERY, "query")
    response = client.get(address, query_string=query, headers=sent, buffered=False)
    try:
        if response.content_type.startswith("text/event-stream"):
            assert next(iter(response.response))
        else:
            is_sound(response)
    finally:
        response.close()


def asker(app: Flask) -> tuple[FlaskClient, dict[str, str]]:
    """One administrator's token for all examples of a test."""
    if "test_asker" not in app.extensions:
        app.extensions["test_asker"] = headers_of(app, ADA, *SCOPES)
    headers: dict[str, str] = app.extensions["test_asker"]
    return app.test_client(), headers

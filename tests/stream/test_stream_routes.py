"""The stream over HTTP: what opens it, what it says, and what ends it."""

import logging
import re
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.accounts import tokens, users
from app.accounts.models import LoginSession
from app.background import StreamServices
from app.db import db, read, write
from app.eventlog.append import NewEvent
from app.flags import embedded
from app.flags.evaluation import Flag
from app.infra.clock import utc_now, utc_text
from app.web import login_sessions
from tests.support.cast import (
    ALICE,
    BOB,
    CHARLIE,
    bearer,
    headers_of,
    log_out,
    logged_in,
    make_token,
    page_token,
    publish,
)
from tests.support.sse_client import StreamReader, open_stream, read_stream
from tests.support.waiting import wait_for

STREAM = "/api/stream/events"
PATHS = [STREAM, "/reconciliation/stream", "/api/events/stream", "/api/sse"]


def live(app: Flask) -> StreamServices:
    found: StreamServices = app.extensions["beacon"].background
    return found


def streams(app: Flask) -> int:
    return len(live(app).hub)


@pytest.fixture
def client(live_app: Flask) -> FlaskClient:
    return live_app.test_client()


@pytest.fixture
def alice(live_app: Flask) -> dict[str, str]:
    return headers_of(live_app, ALICE)


def ids(reader: StreamReader, count: int) -> list[str | None]:
    return [frame.id for frame in reader.frames(count)]


class TestOpening:
    def test_headers_and_hello_are_those_of_the_contract(self, client: FlaskClient, alice: dict[str, str]) -> None:
        response = client.get(STREAM, headers=alice, buffered=False)
        assert response.headers["Cache-Control"] == "no-cache, no-store, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert "Set-Cookie" not in response.headers
        with read_stream(response) as reader:
            (hello,) = reader.frames(1)
        assert reader.raw.startswith(b"retry: ")
        assert list(hello.json()) == ["heartbeatS", "head", "after", "session", "build", "stream", "generation"]
        assert {**hello.json(), "build": "", "generation": ""} == {
            "heartbeatS": 0.1,
            "head": 0,
            "after": 0,
            "session": None,
            "build": "",
            "stream": "on",
            "generation": "",
        }
        assert re.fullmatch(r"[0-9a-z]{8}", hello.json()["generation"])
        assert re.fullmatch(r"[\w.]+-[0-9a-f]{8}", hello.json()["build"])
        assert (hello.event, hello.id) == ("hello", None)

    def test_whole_seconds_are_written_whole(self, live_app: Flask, client: FlaskClient, alice: dict[str, str]) -> None:
        live_app.extensions["beacon"].settings.heartbeat_s = 1.0
        with open_stream(client, headers=alice) as reader:
            assert '"heartbeatS":1,' in reader.next_frame().data

    def test_hello_names_the_login_session_by_an_opaque_name(self, live_app: Flask) -> None:
        browser = logged_in(live_app, ALICE)
        with browser.session_transaction() as cookie:
            login_id = cookie["login"]
        names = set()
        for headers in ({}, bearer(page_token(browser))):
            with open_stream(browser, headers=headers) as reader:
                names.add(reader.next_frame().json()["session"])
        (name,) = names
        assert name
        assert login_id not in name
        assert name not in login_id
        with open_stream(logged_in(live_app, ALICE)) as reader:
            assert reader.next_frame().json()["session"] != name

    def test_without_a_cursor_it_begins_at_the_head(
        self, live_app: Flask, client: FlaskClient, alice: dict[str, str]
    ) -> None:
        publish(live_app, NewEvent("old", {}))
        with open_stream(client, headers=alice) as reader:
            assert reader.next_frame().json()["after"] == 1
            publish(live_app, NewEvent("new", {"n": 1}))
            (frame,) = reader.frames(1)
        assert (frame.event, frame.id) == ("new", "2")
        assert set(frame.json()) == {"type", "timestamp", "data"}
        assert (frame.json()["type"], frame.json()["data"]) == ("new", {"n": 1})
        assert frame.json()["timestamp"].endswith("Z")

    @pytest.mark.parametrize("how", ["header", "query", "both"])
    def test_it_replays_behind_the_clients_id_and_the_header_wins(
        self, live_app: Flask, client: FlaskClient, alice: dict[str, str], how: str
    ) -> None:
        publish(live_app, *(NewEvent("a", {}) for _ in range(4)))
        header = {} if how == "query" else {"Last-Event-ID": "2"}
        query = {"header": "", "query": "?lastEventId=2", "both": "?lastEventId=0"}[how]
        with open_stream(client, STREAM + query, headers={**alice, **header}) as reader:
            assert reader.next_frame().json()["after"] == 2
            publish(live_app, NewEvent("a", {}))
            assert ids(reader, 3) == ["3", "4", "5"]

    def test_topics_choose(self, live_app: Flask, client: FlaskClient, alice: dict[str, str]) -> None:
        with open_stream(client, f"{STREAM}?topics=job.*,x&lastEventId=0", headers=alice) as reader:
            publish(live_app, *(NewEvent(name, {}) for name in ("a", "job.new", "x", "x.y", "job.new")))
            assert ids(reader, 3) == ["hello", "2", "3"] or ids(reader, 1) == ["5"]

    @pytest.mark.parametrize("query", ["topics=", "topics=*", "topics=a,,b", "topics=A", "as=xml", "as="])
    def test_a_bad_query_is_400_and_names_its_field(
        self, live_app: Flask, client: FlaskClient, alice: dict[str, str], query: str
    ) -> None:
        response = client.get(f"{STREAM}?{query}", headers=alice)
        assert response.status_code == 400
        assert response.content_type == "application/problem+json"
        assert list(response.get_json()["errors"]) == [query.partition("=")[0]]
        assert streams(live_app) == 0

    def test_html_is_unnamed_fragments_and_signals(
        self, live_app: Flask, client: FlaskClient, alice: dict[str, str]
    ) -> None:
        with open_stream(client, f"{STREAM}?as=html&lastEventId=0", headers=alice) as reader:
            publish(live_app, NewEvent("job.failed", {"service": "mail", "jobId": "<j1>"}))
            publish(live_app, NewEvent("notification.changed", {}, "user:alice"))
            _hello, change, signal = reader.frames(3)
        assert (change.event, change.id) == ("message", "1")
        assert 'id="change-1"' in change.data
        assert "&lt;j1&gt;" in change.data
        assert "<j1>" not in change.data
        assert (signal.event, signal.id, signal.json()) == ("signal", "2", {"type": "notification.changed"})


class TestReset:
    @pytest.mark.parametrize(
        ("cursor", "reason"),
        [("1", "pruned"), ("99", "future"), ("-1", "malformed"), ("abc", "malformed"), ("9" * 30, "malformed")],
    )
    def test_an_unusable_cursor_gets_one_reset_with_the_heads_id_and_then_goes_on(
        self, live_app: Flask, client: FlaskClient, alice: dict[str, str], cursor: str, reason: str
    ) -> None:
        publish(live_app, *(NewEvent("a", {}) for _ in range(4)))
        with live_app.app_context(), write() as session:
            session.execute(db.text("DELETE FROM event WHERE id <= 2"))
        with open_stream(client, headers={**alice, "Last-Event-ID": cursor}) as reader:
            hello, reset = reader.frames(2)
            publish(live_app, NewEvent("a", {}))
            after = reader.until("a")
        assert (hello.event, hello.json()["after"]) == ("hello", 4)
        assert (reset.event, reset.id, reset.json()) == ("reset", "4", {"reason": reason, "head": 4})
        assert [frame.id for frame in after if frame.event != "heartbeat"] == ["5"]
        with open_stream(client, headers={**alice, "Last-Event-ID": reader.parser.last_event_id}) as again:
            assert [frame.event for frame in again.until("heartbeat")] == ["hello", "heartbeat"]


class TestHeartbeat:
    def test_it_comes_by_name_without_an_id_and_follows_the_head(
        self, live_app: Flask, client: FlaskClient, alice: dict[str, str]
    ) -> None:
        with open_stream(client, headers=alice) as reader:
            publish(live_app, NewEvent("a", {}, "user:bob"))

            def beat_knows_the_head() -> bool:
                beat = reader.until("heartbeat")[-1]
                assert beat.id is None
                assert set(beat.json()) == {"head", "timestamp", "degraded"}
                return bool(beat.json()["head"] == 1)

            wait_for(beat_knows_the_head)
        assert reader.parser.last_event_id == ""


class TestAdmission:
    @pytest.mark.parametrize("path", PATHS)
    def test_without_a_credential_it_is_401(self, live_app: Flask, client: FlaskClient, path: str) -> None:
        response = client.get(path)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert response.content_type == "application/problem+json"

    @pytest.mark.parametrize("path", PATHS)
    def test_with_a_bad_credential_it_is_401(self, client: FlaskClient, path: str) -> None:
        bad = [
            "Bearer",
            "Bearer ",
            "Bearer x",
            "Bearer bcn_x",
            "Bearer a=b",
            "Basic YTpi",
            "Bearer bcn_ü",
            "x",
            "Digest a=b",
        ]
        answers = {text: client.get(path, headers={"Authorization": text}).status_code for text in bad}
        assert answers == dict.fromkeys(bad, 401)

    @pytest.mark.parametrize("path", PATHS)
    def test_a_token_needs_the_scope_stream(self, live_app: Flask, client: FlaskClient, path: str) -> None:
        response = client.get(path, headers=headers_of(live_app, BOB, "read", "publish", "admin"))
        assert (response.status_code, response.get_json()["reason"]) == (403, "scope")

    @pytest.mark.parametrize("path", PATHS)
    def test_the_flag_off_is_403_with_its_reason(
        self, live_app: Flask, client: FlaskClient, alice: dict[str, str], path: str
    ) -> None:
        turn_flag(live_app, 0)
        wait_for(lambda: client.get(path, headers=alice).status_code == 403)
        response = client.get(path, headers=alice)
        assert response.get_json()["reason"] == "flag-off"
        assert streams(live_app) == 0

    def test_the_token_is_never_taken_from_the_url(self, live_app: Flask, client: FlaskClient) -> None:
        _, text = make_token(live_app, ALICE, "stream")
        for name in ("token", "access_token", "api_key", "authorization"):
            assert client.get(f"{STREAM}?{name}={text}").status_code == 401

    def test_a_worker_that_drains_answers_503_with_a_jittered_retry(
        self, live_app: Flask, client: FlaskClient, alice: dict[str, str]
    ) -> None:
        live(live_app).hub.drain()
        answers = [client.get(STREAM, headers=alice) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {503}
        assert len({int(answer.headers["Retry-After"]) for answer in answers}) > 1

    def test_a_worker_whose_live_half_does_not_run_answers_503(self, cast: Flask) -> None:
        cast.extensions["beacon"].flags.overrides[Flag.SSE_STREAMING] = True
        assert cast.test_client().get(STREAM, headers=headers_of(cast, ALICE)).status_code == 503

    def test_a_refusal_is_logged(
        self, live_app: Flask, client: FlaskClient, alice: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        live(live_app).hub.drain()
        with caplog.at_level(logging.INFO, "beacon.stream"):
            client.get(STREAM, headers=alice)
        assert "[SSE] refused" in caplog.text
        assert "user=alice" in caplog.text
        assert "status=503" in caplog.text

    @pytest.mark.parametrize("path", PATHS)
    def test_head_gets_the_headers_and_leaves_no_subscriber(
        self, live_app: Flask, client: FlaskClient, alice: dict[str, str], path: str
    ) -> None:
        response = client.head(path, headers=alice)
        assert (response.status_code, response.data) == (200, b"")
        assert response.content_type == "text/event-stream; charset=utf-8"
        assert streams(live_app) == 0

    @pytest.mark.parametrize("path", PATHS)
    def test_other_methods_are_405(self, client: FlaskClient, alice: dict[str, str], path: str) -> None:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            response = client.open(path, method=method, headers=alice)
            assert response.status_code == 405
            assert "GET" in response.headers["Allow"]


class TestCookie:
    def test_the_login_sessions_cookie_opens_a_stream(self, live_app: Flask) -> None:
        with open_stream(logged_in(live_app, ALICE)) as reader:
            assert reader.next_frame().event == "hello"

    @pytest.mark.parametrize("path", PATHS)
    def test_from_another_site_it_does_not(self, live_app: Flask, path: str) -> None:
        browser = logged_in(live_app, ALICE)
        assert browser.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 401
        with open_stream(browser, path, headers={"Sec-Fetch-Site": "same-origin"}) as reader:
            assert reader.next_frame().event == "hello"

    def test_a_bad_token_is_not_mended_by_a_good_cookie(self, live_app: Flask) -> None:
        assert logged_in(live_app, ALICE).get(STREAM, headers=bearer("bcn_wrong")).status_code == 401

    def test_an_expired_session_is_401(self, live_app: Flask) -> None:
        browser = logged_in(live_app, ALICE)
        with live_app.app_context(), write() as session:
            session.query(LoginSession).one().expires_at = utc_text(utc_now() - timedelta(seconds=1))
        assert browser.get(STREAM).status_code == 401


class TestPageToken:
    def test_it_opens_a_stream_without_the_cookie(self, live_app: Flask, client: FlaskClient) -> None:
        token = page_token(logged_in(live_app, ALICE))
        with open_stream(client, headers=bearer(token)) as reader:
            assert reader.next_frame().event == "hello"

    def test_it_says_how_long_it_lives_and_is_not_stored(self, live_app: Flask) -> None:
        browser = logged_in(live_app, ALICE)
        page_token(browser)
        text = browser.get("/").text
        csrf = re.search(r'name="csrf-token" content="([^"]+)"', text)
        assert csrf
        response = browser.post("/api/stream/token", headers={"X-CSRFToken": csrf[1]})
        assert set(response.get_json()) == {"token", "expiresInS", "session"}
        assert response.get_json()["expiresInS"] == 300
        assert response.headers["Cache-Control"] == "no-store"

    def test_it_dies_with_its_session(self, live_app: Flask, client: FlaskClient) -> None:
        browser = logged_in(live_app, ALICE)
        token = page_token(browser)
        log_out(browser)
        assert client.get(STREAM, headers=bearer(token)).status_code == 401

    def test_it_expires(self, live_app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        logged_in(live_app, ALICE)
        now = utc_now().timestamp()
        for age, status in ((290, 200), (310, 401)):
            with live_app.app_context(), monkeypatch.context() as patch:
                patch.setattr("itsdangerous.timed.time", SimpleNamespace(time=lambda age=age: now - age))
                token = tokens.create_page_token(db.session.query(LoginSession).one())
            assert client.head(STREAM, headers=bearer(token)).status_code == status

    def test_it_is_for_streams_only(self, live_app: Flask, client: FlaskClient) -> None:
        token = page_token(logged_in(live_app, BOB))
        assert client.get("/api/events", headers=bearer(token)).status_code == 401
        assert client.post("/api/events", json={"type": "a", "data": {}}, headers=bearer(token)).status_code == 401

    def test_the_session_cookie_itself_is_no_token(self, live_app: Flask, client: FlaskClient) -> None:
        browser = logged_in(live_app, ALICE)
        cookie = browser.get_cookie("beacon")
        assert cookie is not None
        assert client.get(STREAM, headers=bearer(cookie.value)).status_code == 401

    def test_an_api_token_cannot_make_one(self, live_app: Flask, client: FlaskClient) -> None:
        response = client.post("/api/stream/token", headers=headers_of(live_app, ALICE))
        assert response.status_code == 403


class TestEnding:
    def test_drain(self, live_app: Flask, client: FlaskClient, alice: dict[str, str]) -> None:
        with open_stream(client, headers=alice) as reader:
            reader.frames(1)
            live(live_app).hub.drain()
            bye = reader.rest()[-1]
        assert (bye.event, bye.id, bye.json()) == ("bye", None, {"reason": "drain", "poll": False})
        assert streams(live_app) == 0

    def test_lifetime(self, live_app: Flask, client: FlaskClient, alice: dict[str, str]) -> None:
        live_app.extensions["beacon"].settings.stream_lifetime_s = 0.3
        with open_stream(client, headers=alice) as reader:
            assert reader.rest()[-1].json() == {"reason": "lifetime", "poll": False}

    def test_flag_off_tells_to_poll(self, live_app: Flask, client: FlaskClient, alice: dict[str, str]) -> None:
        with open_stream(client, headers=alice) as reader:
            reader.frames(1)
            turn_flag(live_app, 0)
            frames = reader.rest()
        assert frames[-1].json() == {"reason": "flag-off", "poll": True}
        assert frames[-2].event in ("flag.changed", "heartbeat")

    def test_a_change_that_leaves_the_user_in_ends_nothing(
        self, live_app: Flask, client: FlaskClient, alice: dict[str, str]
    ) -> None:
        with open_stream(client, headers=alice) as reader:
            reader.frames(1)
            with live_app.app_context(), write() as session:
                embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "no change", 100)
            reader.until("flag.changed")
            publish(live_app, NewEvent("still.here", {}))
            assert reader.until("still.here")

    def test_logout_ends_the_streams_of_that_login_and_of_no_other(self, live_app: Flask, client: FlaskClient) -> None:
        here, elsewhere = logged_in(live_app, ALICE), logged_in(live_app, ALICE)
        token = page_token(here)
        with (
            open_stream(here) as by_cookie,
            open_stream(client, headers=bearer(token)) as by_token,
            open_stream(elsewhere) as other,
        ):
            for reader in (by_cookie, by_token, other):
                reader.frames(1)
            log_out(here)
            assert by_cookie.rest()[-1].json() == {"reason": "revoked", "poll": False}
            assert by_token.rest()[-1].json()["reason"] == "revoked"
            publish(live_app, NewEvent("a", {}))
            assert other.until("a")

    def test_disabling_a_user_ends_all_their_streams(
        self, live_app: Flask, client: FlaskClient, alice: dict[str, str]
    ) -> None:
        with (
            open_stream(client, headers=alice) as by_api_token,
            open_stream(logged_in(live_app, ALICE)) as by_cookie,
            open_stream(logged_in(live_app, CHARLIE)) as other,
        ):
            for reader in (by_api_token, by_cookie, other):
                reader.frames(1)
            with live_app.app_context(), write() as session:
                users.disable(session, "alice", "ada")
            for reader in (by_api_token, by_cookie):
                assert reader.rest()[-1].json()["reason"] == "revoked"
            publish(live_app, NewEvent("a", {}))
            assert other.until("a")
        assert client.get(STREAM, headers=alice).status_code == 401

    def test_revoking_a_token_ends_its_streams_and_no_others(self, live_app: Flask, client: FlaskClient) -> None:
        token_id, text = make_token(live_app, ALICE, "stream")
        _, kept = make_token(live_app, ALICE, "stream")
        with open_stream(client, headers=bearer(text)) as reader, open_stream(client, headers=bearer(kept)) as other:
            reader.frames(1)
            other.frames(1)
            with live_app.app_context(), write() as session:
                users.revoke_token(session, token_id, "ada")
            assert reader.rest()[-1].json()["reason"] == "revoked"
            publish(live_app, NewEvent("a", {}))
            assert other.until("a")
        assert client.get(STREAM, headers=bearer(text)).status_code == 401

    def test_the_end_of_a_page_token_does_not_end_its_stream(
        self, live_app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_stream(client, headers=bearer(page_token(logged_in(live_app, ALICE)))) as reader:
            reader.frames(1)
            monkeypatch.setattr("app.accounts.tokens.STREAM_TOKEN_S", -1)
            publish(live_app, NewEvent("a", {}))
            assert reader.until("a")

    def test_a_client_that_goes_leaves_no_subscriber(
        self, live_app: Flask, client: FlaskClient, alice: dict[str, str]
    ) -> None:
        with open_stream(client, headers=alice) as reader:
            reader.frames(1)
            assert streams(live_app) == 1
        wait_for(lambda: streams(live_app) == 0)


class TestDatabase:
    def test_open_streams_hold_no_connection(self, live_app: Flask, client: FlaskClient, alice: dict[str, str]) -> None:
        live_app.extensions["beacon"].settings.max_streams_per_user = 20
        readers = [open_stream(client, headers={**alice, "Last-Event-ID": "0"}) for _ in range(20)]
        try:
            publish(live_app, NewEvent("a", {}))
            for reader in readers:
                reader.until("a")
            wait_for(lambda: checked_out(live_app) == 0)
        finally:
            for reader in readers:
                reader.close()

    def test_the_database_away_is_said_and_the_stream_goes_on_when_it_is_back(
        self,
        live_app: Flask,
        client: FlaskClient,
        alice: dict[str, str],
        move_database: Callable[[], Callable[[], None]],
    ) -> None:
        with open_stream(client, headers=alice) as reader:
            reader.frames(1)
            bring_back = move_database()
            wait_for(lambda: reader.until("heartbeat")[-1].json()["degraded"] is True, within_s=10)
            bring_back()
            wait_for(lambda: reader.until("heartbeat")[-1].json()["degraded"] is False, within_s=10)
            publish(live_app, NewEvent("after.all", {}))
            assert reader.until("after.all")


def checked_out(app: Flask) -> int:
    with app.app_context():
        return int(db.engine.pool.checkedout())  # type: ignore[attr-defined]  # the queue pool's own


def turn_flag(app: Flask, percentage: int) -> None:
    with app.app_context(), write() as session:
        embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "a test", percentage)


def test_sessions_end_in_the_log(live_app: Flask) -> None:
    """The control event is what tells the other workers."""
    logged_in(live_app, ALICE)
    with live_app.app_context():
        login_id = db.session.query(LoginSession).one().id
        login_sessions.end(login_id)
        login_sessions.end(login_id)
        with read() as session:
            rows = session.execute(db.text("SELECT type, audience FROM event")).all()
    assert rows == [("control.session_ended", "control")]

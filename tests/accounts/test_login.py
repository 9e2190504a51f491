"""Login, logout and what a login session is good for."""

import re
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.accounts import users
from app.accounts.models import LoginSession
from app.db import db, write
from app.infra.clock import utc_now, utc_text
from tests.support.cast import ALICE, BOB, PASSWORD, Person, csrf_token, log_in, log_out, logged_in


@pytest.fixture
def client(cast: Flask) -> FlaskClient:
    return cast.test_client()


def is_in(client: FlaskClient) -> bool:
    status = client.get("/api/events", headers={"Accept": "application/json"}).status_code
    assert status in (200, 401)
    return status == 200


def change_session(app: Flask, **values: str) -> None:
    with app.app_context(), write() as session:
        session.execute(db.update(LoginSession).values(**values))


class TestLogin:
    def test_the_right_password_opens_a_session_and_leads_to_the_dashboard(self, client: FlaskClient) -> None:
        response = log_in(client, ALICE)
        assert (response.status_code, response.headers["Location"]) == (303, "/")
        assert is_in(client)

    def test_the_cookie_is_for_this_site_and_for_no_script(self, client: FlaskClient) -> None:
        cookie = log_in(client, ALICE).headers["Set-Cookie"]
        assert cookie.startswith("beacon=")
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Secure" not in cookie

    def test_over_tls_it_is_tied_to_the_host_and_the_browser_is_told_to_stay_with_tls(
        self, cast: Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(cast.config, "PREFERRED_URL_SCHEME", "https")  # how the test client asks
        client = cast.test_client()
        client.environ_base["HTTP_REFERER"] = "https://localhost/login"  # as browsers do
        answer = log_in(client, ALICE)
        assert answer.status_code == 303
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__Host-beacon=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
        assert client.get("/", headers={"Accept": "text/html"}).status_code == 200

    def test_a_file_that_everybody_may_keep_has_nothing_of_a_login(self, cast: Flask) -> None:
        browser = logged_in(cast, ALICE)
        [name, *_] = re.findall(r'/static/[^"]+\.js', browser.get("/").text)
        answer = browser.get(name)
        assert "immutable" in answer.headers["Cache-Control"]
        assert "Set-Cookie" not in answer.headers
        assert "Cookie" not in answer.headers["Vary"]

    @pytest.mark.parametrize(
        ("person", "password"),
        [
            (ALICE, "wrong"),
            (ALICE, ""),
            (ALICE, PASSWORD + " "),
            (Person("nobody", "viewer"), PASSWORD),
            (Person("ALICE", "viewer"), PASSWORD),
            (Person("", "viewer"), ""),
            (Person("' OR 1=1 --", "viewer"), PASSWORD),
            (Person("alice\0", "viewer"), PASSWORD),
            (Person("x" * 10_000, "viewer"), PASSWORD),
        ],
    )
    def test_anything_else_is_refused_with_the_same_words(
        self, client: FlaskClient, person: Person, password: str
    ) -> None:
        response = log_in(client, person, password)
        assert response.status_code == 401
        assert "Wrong name or password." in response.text
        assert not is_in(client)

    def test_what_was_typed_is_shown_again_escaped_and_the_password_never(self, client: FlaskClient) -> None:
        response = log_in(client, Person('"><script>', "viewer"), "my secret", next_="/audit?x=1")
        assert "<script>" not in response.text.replace("<script defer", "").replace('<script type="module"', "")
        assert "&#34;&gt;&lt;script&gt;" in response.text
        assert "my secret" not in response.text
        assert "/audit?x=1" in response.text

    @pytest.mark.parametrize("target", ["/", "/audit", "/audit?a=1&b=2", "/services/a%20b", "/a?next=//x"])
    def test_next_leads_back_to_a_path_of_this_site(self, client: FlaskClient, target: str) -> None:
        assert log_in(client, ALICE, next_=target).headers["Location"] == target

    @pytest.mark.parametrize(
        "target",
        [
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example/",
            "https:evil.example",
            "javascript:alert(1)",
            "evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/\r\nSet-Cookie: a=b",
            " //evil.example",
            "//[",
            "http://[",
            "",
        ],
    )
    def test_next_never_leads_anywhere_else(self, client: FlaskClient, target: str) -> None:
        response = log_in(client, ALICE, next_=target)
        assert (response.status_code, response.headers["Location"]) == (303, "/")
        again = client.get("/login", query_string={"next": target})
        assert (again.status_code, again.headers["Location"]) == (302, "/")

    def test_a_browser_without_a_session_is_sent_to_the_login_and_comes_back(self, client: FlaskClient) -> None:
        response = client.get("/services/mail?x=1", headers={"Accept": "text/html"})
        assert response.status_code == 302
        assert response.headers["Location"] == "/login?next=/services/mail?x%3D1"
        page = client.get(response.headers["Location"])
        assert 'name="next" value="/services/mail?x=1"' in page.text

    def test_the_form_needs_its_csrf_token(self, client: FlaskClient) -> None:
        response = client.post("/login", data={"username": "alice", "password": PASSWORD})
        assert response.status_code == 400
        assert not is_in(client)

    def test_a_token_of_another_browser_is_no_good(self, cast: Flask, client: FlaskClient) -> None:
        client.get("/login")
        stolen = csrf_token(cast.test_client())
        data = {"username": "alice", "password": PASSWORD, "csrf_token": stolen}
        assert client.post("/login", data=data).status_code == 400

    def test_logging_in_starts_a_new_session_and_forgets_what_was_in_the_cookie(self, client: FlaskClient) -> None:
        with client.session_transaction() as cookie:
            cookie["planted"] = "by somebody else"
        log_in(client, ALICE)
        with client.session_transaction() as cookie:
            assert "planted" not in cookie
            first = cookie["login"]
        log_out(client)
        log_in(client, ALICE)
        with client.session_transaction() as cookie:
            assert cookie["login"] != first


class TestSession:
    def test_logout_ends_it_on_the_server_too(self, cast: Flask) -> None:
        browser = logged_in(cast, ALICE)
        stolen = browser.get_cookie("beacon")
        assert stolen is not None
        response = log_out(browser)
        assert (response.status_code, response.headers["Location"]) == (303, "/login")
        assert not is_in(browser)
        thief = cast.test_client()
        thief.set_cookie("beacon", stolen.value)
        assert not is_in(thief)

    def test_logout_ends_no_other_session_of_the_same_person(self, cast: Flask) -> None:
        here, there = logged_in(cast, ALICE), logged_in(cast, ALICE)
        log_out(here)
        assert is_in(there)

    def test_logout_needs_its_csrf_token(self, cast: Flask) -> None:
        browser = logged_in(cast, ALICE)
        assert browser.post("/logout").status_code == 400
        assert is_in(browser)

    def test_logout_is_no_link(self, cast: Flask) -> None:
        browser = logged_in(cast, ALICE)
        assert browser.get("/logout").status_code == 405
        assert is_in(browser)

    def test_it_expires(self, cast: Flask) -> None:
        browser = logged_in(cast, ALICE)
        change_session(cast, expires_at=utc_text(utc_now() + timedelta(seconds=30)))
        assert is_in(browser)
        change_session(cast, expires_at=utc_text(utc_now() - timedelta(seconds=1)))
        assert not is_in(browser)

    def test_a_disabled_user_is_out_at_once_and_cannot_come_back(self, cast: Flask) -> None:
        browser = logged_in(cast, ALICE)
        with cast.app_context(), write() as session:
            users.disable(session, "alice", "ada")
        assert not is_in(browser)
        assert log_in(cast.test_client(), ALICE).status_code == 401

    def test_a_changed_cookie_is_nobody(self, cast: Flask) -> None:
        browser = logged_in(cast, ALICE)
        cookie = browser.get_cookie("beacon")
        assert cookie is not None
        payload, _, signature = cookie.value.rpartition(".")  # its last sign has bits that say nothing
        browser.set_cookie("beacon", f"{payload}.{'b' if signature[0] == 'a' else 'a'}{signature[1:]}")
        assert not is_in(browser)

    def test_a_session_of_one_person_does_not_carry_another(self, cast: Flask) -> None:
        """Flask-Login's name and our row must agree."""
        browser = logged_in(cast, ALICE)
        with browser.session_transaction() as cookie:
            cookie["_user_id"] = "2"
        assert not is_in(browser)

    def test_two_requests_of_one_client_are_two_identities(self, cast: Flask) -> None:
        browser = logged_in(cast, ALICE)
        assert is_in(browser)
        log_out(browser)
        log_in(browser, BOB)
        assert "bob" in browser.get("/").text

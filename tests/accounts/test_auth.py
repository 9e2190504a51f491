"""Roles for people, scopes for tokens, CSRF for cookies."""

from datetime import timedelta
from itertools import product

import pytest
from flask import Flask, Response, jsonify

from app.accounts import users
from app.accounts.models import ApiToken
from app.accounts.tokens import SCOPES
from app.db import db, read, write
from app.eventlog.audience import ROLES
from app.infra.clock import utc_now, utc_text
from app.web.auth import actor, require
from tests.support.cast import (
    ADA,
    ALICE,
    BOB,
    CAST,
    PIA,
    Person,
    bearer,
    csrf_token,
    headers_of,
    join,
    logged_in,
    make_token,
)

ALLOWED = {
    "viewer": {"viewer"},
    "operator": {"viewer", "operator"},
    "product": {"viewer", "product"},
    "admin": {"viewer", "operator", "product", "admin"},
}


@pytest.fixture
def guarded(own_app: Flask) -> Flask:
    """One route a role, open to people and to tokens with scope `command`; one for people only."""
    join(own_app, *CAST)
    for role in ROLES:

        def view() -> Response:
            return jsonify(name=actor().name)

        own_app.add_url_rule(f"/test/{role}", f"test_{role}", require(role, "command")(view), methods=["GET", "POST"])
    own_app.add_url_rule("/test/people", "test_people", require("viewer")(view))
    return own_app


@pytest.mark.parametrize(("person", "needed"), list(product(CAST, ROLES)), ids=str)
def test_a_person_may_what_their_role_includes(guarded: Flask, person: Person, needed: str) -> None:
    response = logged_in(guarded, person).get(f"/test/{needed}")
    assert response.status_code == (200 if needed in ALLOWED[person.role] else 403)
    if response.status_code == 403:
        assert response.get_json()["reason"] == "role"


@pytest.mark.parametrize("scope", SCOPES)
def test_a_token_may_what_its_scopes_say(guarded: Flask, scope: str) -> None:
    response = guarded.test_client().get("/test/viewer", headers=headers_of(guarded, ADA, scope))
    assert response.status_code == (200 if scope == "command" else 403)


def test_a_token_never_does_more_than_its_users_role(guarded: Flask) -> None:
    headers = headers_of(guarded, ALICE, *SCOPES)
    client = guarded.test_client()
    assert client.get("/test/viewer", headers=headers).status_code == 200
    assert client.get("/test/operator", headers=headers).get_json()["reason"] == "role"


def test_some_things_are_for_people_only(guarded: Flask) -> None:
    assert guarded.test_client().get("/test/people", headers=headers_of(guarded, ADA, *SCOPES)).status_code == 403
    assert logged_in(guarded, ALICE).get("/test/people").status_code == 200


def test_a_cookie_alone_changes_nothing_and_a_token_needs_no_csrf(guarded: Flask) -> None:
    browser = logged_in(guarded, BOB)
    refused = browser.post("/test/operator")
    assert (refused.status_code, refused.get_json()["reason"]) == (400, "csrf")
    csrf = csrf_token(browser, "/")
    assert browser.post("/test/operator", headers={"X-CSRFToken": csrf}).status_code == 200
    assert browser.post("/test/operator", data={"csrf_token": csrf}).status_code == 200
    assert guarded.test_client().post("/test/operator", headers=headers_of(guarded, BOB, "command")).status_code == 200


def test_a_csrf_token_of_an_earlier_login_is_no_good(guarded: Flask) -> None:
    browser = logged_in(guarded, BOB)
    old = csrf_token(browser, "/")
    fresh = logged_in(guarded, BOB)
    assert fresh.post("/test/operator", headers={"X-CSRFToken": old}).status_code == 400


def test_a_made_up_bearer_does_not_carry_a_cookie_past_csrf(guarded: Flask) -> None:
    """A bearer header switches the CSRF check off, so it must switch the cookie off too."""
    browser = logged_in(guarded, BOB)
    for text in ("x", "bcn_x", ""):
        response = browser.post("/test/operator", headers=bearer(text))
        assert response.status_code in (400, 401)


@pytest.mark.parametrize("credential", ["bearer", "Bearer a=b", "BEARER x"])
def test_a_broken_bearer_credential_is_none(guarded: Flask, credential: str) -> None:
    browser = logged_in(guarded, BOB)
    assert browser.get("/test/viewer", headers={"Authorization": credential}).status_code == 401


@pytest.mark.parametrize("credential", ["Basic Ym9iOng=", "Negotiate abc"])
def test_credentials_for_a_proxy_neither_help_nor_stand_in_the_way(guarded: Flask, credential: str) -> None:
    browser, stranger = logged_in(guarded, BOB), guarded.test_client()
    headers = {"Authorization": credential}
    assert browser.get("/test/viewer", headers=headers).status_code == 200
    assert stranger.get("/test/viewer", headers=headers).status_code == 401
    assert browser.post("/test/operator", headers=headers).status_code == 400  # a cookie still needs its CSRF token


def test_an_anonymous_post_is_told_to_log_in_rather_than_to_reload(guarded: Flask) -> None:
    response = guarded.test_client().post("/test/operator")
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")


class TestTokens:
    def works(self, app: Flask, text: str) -> bool:
        return app.test_client().get("/api/events", headers=bearer(text)).status_code == 200

    def test_only_a_hash_is_kept(self, cast: Flask) -> None:
        _, text = make_token(cast, ALICE, "read")
        with cast.app_context(), read() as session:
            row = session.query(ApiToken).one()
            assert text not in " ".join(str(getattr(row, name.key)) for name in ApiToken.__mapper__.columns)

    def test_texts_are_long_and_different(self, cast: Flask) -> None:
        texts = {make_token(cast, ALICE, "read")[1] for _ in range(10)}
        assert len(texts) == 10
        assert min(map(len, texts)) > 40

    def test_it_expires(self, cast: Flask) -> None:
        _, text = make_token(cast, ALICE, "read", days=1)
        assert self.works(cast, text)
        with cast.app_context(), write() as session:
            session.query(ApiToken).one().expires_at = utc_text(utc_now() - timedelta(seconds=1))
        assert not self.works(cast, text)

    def test_it_dies_when_revoked_and_cannot_be_revoked_twice(self, cast: Flask) -> None:
        token_id, text = make_token(cast, ALICE, "read")
        with cast.app_context(), write() as session:
            users.revoke_token(session, token_id, "ada")
        assert not self.works(cast, text)
        with cast.app_context(), write() as session, pytest.raises(users.BadInput, match="no active token"):
            users.revoke_token(session, token_id, "ada")

    def test_it_dies_with_its_user(self, cast: Flask) -> None:
        _, text = make_token(cast, ALICE, "read")
        with cast.app_context(), write() as session:
            users.disable(session, "alice", "ada")
        assert not self.works(cast, text)

    @pytest.mark.parametrize(("scopes", "days"), [([], None), (["everything"], None), (["read"], 0), (["read"], -1)])
    def test_bad_wishes_are_refused(self, cast: Flask, scopes: list[str], days: float | None) -> None:
        with cast.app_context(), write() as session, pytest.raises(users.BadInput):
            users.add_token(session, "alice", scopes, days, "ada")


class TestPeople:
    @pytest.mark.parametrize("name", ["", " ", "a b", "-a", ".a", "a/b", "a\n", "ä", "x" * 65, "a\0"])
    def test_bad_names(self, app: Flask, name: str) -> None:
        with app.app_context(), write() as session, pytest.raises(users.BadInput, match="name"):
            users.add(session, name, "viewer", "long enough", "test")

    @pytest.mark.parametrize("name", ["plan", "guardrail", "Unleash", "beacon", "Plan"])
    def test_the_names_of_what_beacon_does_by_itself_are_taken(self, app: Flask, name: str) -> None:
        with app.app_context(), write() as session, pytest.raises(users.BadInput, match="Beacon uses for what it does"):
            users.add(session, name, "viewer", "correct horse battery", "test")

    @pytest.mark.parametrize(("role", "password"), [("king", "long enough"), ("viewer", "short"), ("viewer", "")])
    def test_bad_roles_and_passwords(self, app: Flask, role: str, password: str) -> None:
        with app.app_context(), write() as session, pytest.raises(users.BadInput):
            users.add(session, "new", role, password, "test")

    def test_a_name_is_given_once(self, cast: Flask) -> None:
        with cast.app_context(), write() as session, pytest.raises(users.BadInput, match="already"):
            users.add(session, "alice", "admin", "correct horse battery", "test")

    def test_nobody_is_disabled_twice_nor_a_stranger(self, cast: Flask) -> None:
        with cast.app_context(), write() as session:
            users.disable(session, "alice", "ada")
            with pytest.raises(users.BadInput, match="already disabled"):
                users.disable(session, "alice", "ada")
            with pytest.raises(users.BadInput, match="no user"):
                users.disable(session, "stranger", "ada")

    def test_every_change_is_in_the_audit_without_secrets(self, cast: Flask) -> None:
        _, text = make_token(cast, PIA, "read")
        with cast.app_context(), write() as session:
            users.disable(session, "pia", "ada")
        with cast.app_context(), read() as session:
            rows = session.execute(db.text("SELECT * FROM command_audit ORDER BY seq")).mappings().all()
        assert [(row["actor"], row["action_type"], row["target"]) for row in rows[-2:]] == [
            ("ada", "user-disable", "pia"),
            ("ada", "token-revoke", "pia"),
        ]
        written = " ".join(str(value) for row in rows for value in row.values())
        assert text not in written
        assert "pbkdf2" not in written

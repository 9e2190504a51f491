"""`/api/tokens`: one's own for everyone, everybody's for an administrator, and no secret twice."""

from datetime import timedelta
from typing import Any, get_args

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.accounts import tokens, users
from app.accounts.actors import usable_scopes
from app.accounts.user_changes import UserChange
from app.db import db, read, write
from app.eventlog import reader as log
from app.eventlog.audience import ROLES
from app.infra.clock import parse_utc, utc_now
from app.web.account import token_routes
from tests.support.cast import (
    ADA,
    ALICE,
    BOB,
    CHARLIE,
    PIA,
    Person,
    bearer,
    csrf_token,
    headers_of,
    logged_in,
    make_token,
)
from tests.support.sse_client import open_stream

URL = "/api/tokens"


class Browser:
    """A person at a page, whose script sends the CSRF token along."""

    def __init__(self, app: Flask, person: Person) -> None:
        self._client = logged_in(app, person)
        self._headers = {"X-CSRFToken": csrf_token(self._client, "/"), "Accept": "application/json"}

    def get(self, query: str = "") -> TestResponse:
        return self._client.get(URL + query, headers=self._headers)

    def post(self, **body: Any) -> TestResponse:
        return self._client.post(URL, json=body, headers=self._headers)

    def delete(self, token_id: Any) -> TestResponse:
        return self._client.delete(f"{URL}/{token_id}", headers=self._headers)


@pytest.fixture
def client(cast: Flask) -> FlaskClient:
    return cast.test_client()


def listed(response: TestResponse) -> list[tuple[int, str]]:
    assert response.status_code == 200, response.text
    return [(row["id"], row["user"]) for row in response.get_json()["data"]]


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = response.get_json()
    return body


def works(app: Flask, text: str) -> bool:
    return app.test_client().get("/api/events", headers=bearer(text)).status_code == 200


def audit(app: Flask) -> list[tuple[str, str, str]]:
    """What is recorded, without who logged in."""
    with app.app_context(), read() as session:
        rows = session.execute(db.text("SELECT actor, action_type, target FROM command_audit ORDER BY seq")).all()
    return [tuple(row) for row in rows if row.action_type != "login"]


class TestSeeing:
    def test_everyone_sees_their_own_and_nobody_elses(self, cast: Flask) -> None:
        alices, bobs = make_token(cast, ALICE, "read")[0], make_token(cast, BOB, "read")[0]
        assert listed(Browser(cast, ALICE).get()) == [(alices, "alice")]
        assert listed(Browser(cast, BOB).get("?user=bob")) == [(bobs, "bob")]
        assert problem(Browser(cast, CHARLIE).get("?user=bob"), 403)["reason"] == "role"
        assert listed(Browser(cast, CHARLIE).get()) == []

    def test_an_administrator_sees_all_or_those_of_one(self, cast: Flask) -> None:
        alices, bobs = make_token(cast, ALICE, "read")[0], make_token(cast, BOB, "read")[0]
        ada = Browser(cast, ADA)
        assert listed(ada.get()) == [(alices, "alice"), (bobs, "bob")]
        assert listed(ada.get("?user=bob")) == [(bobs, "bob")]
        assert listed(ada.get("?user=nobody")) == []
        assert list(problem(ada.get("?user=a%00b"), 400)["errors"]) == ["user"]

    def test_a_program_reads_with_the_scope_and_sees_others_only_with_admin(
        self, cast: Flask, client: FlaskClient
    ) -> None:
        make_token(cast, BOB, "read")
        problem(client.get(URL), 401)
        assert problem(client.get(URL, headers=headers_of(cast, ADA, "stream", "widget")), 403)["reason"] == "scope"
        for_reading = headers_of(cast, ADA, "read")
        assert {user for _, user in listed(client.get(URL, headers=for_reading))} == {"ada"}
        problem(client.get(f"{URL}?user=bob", headers=for_reading), 403)
        for_all = headers_of(cast, ADA, "admin")
        assert {user for _, user in listed(client.get(URL, headers=for_all))} == {"ada", "bob"}

    def test_a_token_is_shown_without_its_secret(self, cast: Flask) -> None:
        _, text = make_token(cast, ALICE, "stream", "read", days=1)
        revoked, _ = make_token(cast, ALICE, "read")
        alice = Browser(cast, ALICE)
        alice.delete(revoked)
        response = alice.get()
        first, second = response.get_json()["data"]
        assert list(first) == ["id", "user", "scopes", "createdAt", "expiresAt"]
        assert first["scopes"] == ["read", "stream"]
        assert first["expiresAt"] < second["expiresAt"]
        assert list(second)[-1] == "revokedAt"
        assert text not in response.text
        assert "hash" not in response.text


class TestMaking:
    def test_a_viewer_makes_one_for_themselves_and_sees_its_secret_once(self, cast: Flask) -> None:
        alice = Browser(cast, ALICE)
        response = alice.post(scopes=["read", "stream", "read"], days=1.5)
        made = response.get_json()
        assert (response.status_code, response.headers["Cache-Control"]) == (201, "no-store")
        assert list(made) == ["id", "user", "scopes", "createdAt", "expiresAt", "token"]
        assert (made["user"], made["scopes"]) == ("alice", ["read", "stream"])
        assert 1.4 < (parse_utc(made["expiresAt"]) - utc_now()).total_seconds() / 86_400 <= 1.5
        assert works(cast, made["token"])
        assert made["token"] not in alice.get().text
        assert audit(cast)[-1] == ("alice", "token-create", "alice")

    def test_one_without_days_expires_in_ninety(self, cast: Flask) -> None:
        made = Browser(cast, ALICE).post(scopes=["read"]).get_json()
        assert parse_utc(made["expiresAt"]) - parse_utc(made["createdAt"]) == pytest.approx(
            timedelta(days=90), abs=timedelta(seconds=5)
        )

    def test_nobody_has_more_than_fifty_live_ones(self, cast: Flask) -> None:
        alice = Browser(cast, ALICE)
        for _ in range(users.MAX_TOKENS_PER_USER):
            last = alice.post(scopes=["read"]).get_json()
        assert problem(alice.post(scopes=["read"]), 409)["reason"] == "too-many-tokens"
        alice.delete(last["id"])
        assert alice.post(scopes=["read"]).status_code == 201

    @pytest.mark.parametrize(
        ("person", "scope"),
        [(ALICE, "publish"), (ALICE, "command"), (ALICE, "admin"), (BOB, "rollout"), (PIA, "publish"), (PIA, "admin")],
        ids=str,
    )
    def test_nobody_gives_themselves_more_than_their_role(self, cast: Flask, person: Person, scope: str) -> None:
        before = audit(cast)
        assert problem(Browser(cast, person).post(scopes=["read", scope]), 403)["reason"] == "scope"
        assert audit(cast) == [*before, (person.name, "refused", "POST /api/tokens")]

    @pytest.mark.parametrize("person", [ALICE, BOB, PIA, ADA], ids=lambda person: person.name)
    def test_everyone_may_give_themselves_all_that_their_role_can_use(self, cast: Flask, person: Person) -> None:
        assert Browser(cast, person).post(scopes=sorted(usable_scopes(person.role))).status_code == 201

    def test_only_an_administrator_makes_one_for_another(self, cast: Flask) -> None:
        assert problem(Browser(cast, BOB).post(scopes=["read"], user="alice"), 403)["reason"] == "role"
        made = Browser(cast, ADA).post(scopes=["publish"], user="bob").get_json()
        assert made["user"] == "bob"
        posted = cast.test_client().post("/api/events", json={"type": "a", "data": {}}, headers=bearer(made["token"]))
        assert posted.status_code == 201
        assert audit(cast)[-1] == ("ada", "token-create", "bob")

    def test_a_scope_that_the_users_role_may_not_use_waits_for_another_role(self, cast: Flask) -> None:
        made = Browser(cast, ADA).post(scopes=["publish"], user="alice").get_json()
        client, headers = cast.test_client(), bearer(made["token"])
        assert client.post("/api/events", json={"type": "a", "data": {}}, headers=headers).status_code == 403
        with cast.app_context(), write() as session:
            users.change(session, "alice", UserChange(role="operator"), "ada")
        assert client.post("/api/events", json={"type": "a", "data": {}}, headers=headers).status_code == 201

    def test_an_unknown_user_is_named(self, cast: Flask) -> None:
        ada = Browser(cast, ADA)
        assert list(problem(ada.post(scopes=["read"], user="stranger"), 400)["errors"]) == ["user"]
        assert list(problem(ada.post(scopes=["read"], user="a b"), 400)["errors"]) == ["user"]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "scopes"),
            ({"scopes": []}, "scopes"),
            ({"scopes": "read"}, "scopes"),
            ({"scopes": ["read", "everything"]}, "scopes.1"),
            ({"scopes": [7]}, "scopes.0"),
            ({"scopes": ["read"] * 101}, "scopes"),
            ({"scopes": ["read"], "days": 0}, "days"),
            ({"scopes": ["read"], "days": -1}, "days"),
            ({"scopes": ["read"], "days": 36_501}, "days"),
            ({"scopes": ["read"], "days": float("nan")}, "days"),
            ({"scopes": ["read"], "days": float("inf")}, "days"),
            ({"scopes": ["read"], "days": "7"}, "days"),
            ({"scopes": ["read"], "days": True}, "days"),
            ({"scopes": ["read"], "token": "mine"}, "token"),
        ],
    )
    def test_a_bad_field_is_named(self, cast: Flask, body: dict[str, Any], field: str) -> None:
        assert list(problem(Browser(cast, ALICE).post(**body), 400)["errors"]) == [field]

    def test_a_cookie_needs_its_csrf_token(self, cast: Flask) -> None:
        token_id, _ = make_token(cast, ALICE, "read")
        browser = logged_in(cast, ALICE)
        assert problem(browser.post(URL, json={"scopes": ["read"]}), 400)["reason"] == "csrf"
        assert problem(browser.delete(f"{URL}/{token_id}"), 400)["reason"] == "csrf"


class TestTokensThatMakeTokens:
    def make(self, client: FlaskClient, headers: dict[str, str], **body: Any) -> TestResponse:
        return client.post(URL, json=body, headers=headers)

    def test_need_the_scope_admin(self, cast: Flask, client: FlaskClient) -> None:
        without = headers_of(cast, ADA, "read", "stream", "publish", "command", "rollout", "widget")
        assert problem(self.make(client, without, scopes=["read"]), 403)["reason"] == "scope"

    def test_never_make_one_that_their_own_user_could_not_use(self, cast: Flask, client: FlaskClient) -> None:
        """An administrator may have given a viewer's token any scope; it still does no more than a viewer."""
        viewers = headers_of(cast, ALICE, *tokens.SCOPES)
        assert self.make(client, viewers, scopes=["read"]).status_code == 201
        for scope in ("publish", "command", "rollout", "admin"):
            assert problem(self.make(client, viewers, scopes=[scope]), 403)["reason"] == "scope"
        assert problem(self.make(client, viewers, scopes=["read"], user="bob"), 403)["reason"] == "role"

    def test_of_an_administrator_make_any_for_anyone(self, cast: Flask, client: FlaskClient) -> None:
        headers = headers_of(cast, ADA, "admin")
        assert self.make(client, headers, scopes=list(tokens.SCOPES), user="alice").status_code == 201


class TestRevoking:
    def test_ones_own_dies_at_once_and_it_is_in_log_and_audit(self, cast: Flask) -> None:
        token_id, text = make_token(cast, ALICE, "read")
        alice = Browser(cast, ALICE)
        response = alice.delete(token_id)
        assert (response.status_code, response.data) == (204, b"")
        assert not works(cast, text)
        assert audit(cast)[-1] == ("alice", "token-revoke", "alice")
        with cast.app_context(), read() as session:
            (event,) = log.read_after(session, 0).events
        assert (event.type, event.audience, event.data) == ("control.token_revoked", "control", {"token": token_id})
        problem(alice.delete(token_id), 404)

    def test_anothers_looks_as_if_it_were_not_there(self, cast: Flask) -> None:
        token_id, text = make_token(cast, BOB, "read")
        alice = Browser(cast, ALICE)
        assert problem(alice.delete(token_id), 404) == problem(alice.delete(token_id + 999), 404)
        assert works(cast, text)

    def test_an_administrator_revokes_anyones(self, cast: Flask) -> None:
        token_id, text = make_token(cast, BOB, "read")
        assert Browser(cast, ADA).delete(token_id).status_code == 204
        assert not works(cast, text)
        assert audit(cast)[-1] == ("ada", "token-revoke", "bob")

    @pytest.mark.parametrize("token_id", ["x", "0", "-1", "1.0", "%00", "٣", "9" * 10, "9" * 400])
    def test_an_id_that_is_none_is_404(self, cast: Flask, token_id: str) -> None:
        problem(Browser(cast, ADA).delete(token_id), 404)

    def test_a_token_may_end_itself_and_nothing_else_without_the_scope(self, cast: Flask, client: FlaskClient) -> None:
        mine, text = make_token(cast, ADA, "read")
        other, other_text = make_token(cast, ADA, "read")
        assert problem(client.delete(f"{URL}/{other}", headers=bearer(text)), 403)["reason"] == "scope"
        assert client.delete(f"{URL}/{mine}", headers=bearer(text)).status_code == 204
        assert (works(cast, text), works(cast, other_text)) == (False, True)

    def test_a_token_with_the_scope_reaches_as_far_as_its_user(self, cast: Flask, client: FlaskClient) -> None:
        bobs = make_token(cast, BOB, "read")[0]
        problem(client.delete(f"{URL}/{bobs}", headers=headers_of(cast, ALICE, "admin")), 404)
        assert client.delete(f"{URL}/{bobs}", headers=headers_of(cast, BOB, "admin")).status_code == 204
        alices = make_token(cast, ALICE, "read")[0]
        assert client.delete(f"{URL}/{alices}", headers=headers_of(cast, ADA, "admin")).status_code == 204

    def test_its_stream_ends(self, live_app: Flask) -> None:
        token_id, text = make_token(live_app, ALICE, "stream")
        with open_stream(live_app.test_client(), headers=bearer(text)) as stream:
            stream.frames(1)
            assert Browser(live_app, ALICE).delete(token_id).status_code == 204
            assert stream.until("bye")[-1].json()["reason"] == "revoked"


def test_the_scopes_that_can_be_given_are_those_there_are() -> None:
    assert get_args(token_routes.Scope) == tokens.SCOPES


def test_every_role_has_scopes_and_only_an_admin_has_all() -> None:
    assert {role for role in ROLES if usable_scopes(role) == set(tokens.SCOPES)} == {"admin"}
    assert all(usable_scopes(role) >= {"read", "stream"} for role in ROLES)
    assert usable_scopes("no role") == frozenset()

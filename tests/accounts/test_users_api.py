"""`/api/users`: who may, what it answers, what it ends, and what it never tells."""

import json
from typing import Any, get_args

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.accounts import users
from app.db import db, read, write
from app.eventlog import reader as log
from app.eventlog.audience import ROLES
from app.web.account import user_routes
from tests.support.cast import (
    ADA,
    ALICE,
    BOB,
    CAST,
    PASSWORD,
    PIA,
    Person,
    bearer,
    csrf_token,
    headers_of,
    log_in,
    logged_in,
    make_token,
)
from tests.support.sse_client import open_stream

URL = "/api/users"
NEW = {"name": "dora", "role": "viewer", "password": "long enough for anybody"}


class Desk:
    """A program of an administrator."""

    def __init__(self, app: Flask) -> None:
        self.app, self._headers, self._client = app, headers_of(app, ADA, "admin"), app.test_client()

    def get(self) -> dict[str, dict[str, Any]]:
        """Every user by name."""
        response = self._client.get(URL, headers=self._headers)
        assert response.status_code == 200, response.text
        return {user["name"]: user for user in response.get_json()["data"]}

    def post(self, body: Any) -> TestResponse:
        return self._client.post(URL, json=body, headers=self._headers)

    def patch(self, name: str, /, **body: Any) -> TestResponse:
        return self._client.patch(f"{URL}/{name}", json=body, headers=self._headers)

    def audit(self) -> list[tuple[str, str, str]]:
        """What is recorded, without who logged in and who failed to."""
        with self.app.app_context(), read() as session:
            rows = session.execute(db.text("SELECT actor, action_type, target FROM command_audit ORDER BY seq")).all()
        return [tuple(row) for row in rows if not row.action_type.startswith("login")]

    def told(self) -> list[tuple[str, str, Any]]:
        """What the log says."""
        with self.app.app_context(), read() as session:
            return [(event.type, event.audience, event.data) for event in log.read_after(session, 0).events]


@pytest.fixture
def desk(cast: Flask) -> Desk:
    return Desk(cast)


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = response.get_json()
    return body


class TestWhoMay:
    @pytest.mark.parametrize("person", [person for person in CAST if person != ADA], ids=lambda person: person.name)
    def test_nobody_but_an_administrator(self, cast: Flask, person: Person) -> None:
        browser = logged_in(cast, person)
        headers = {"X-CSRFToken": csrf_token(browser, "/"), "Accept": "application/json"}
        answers = [
            browser.get(URL, headers=headers),
            browser.post(URL, json=NEW, headers=headers),
            browser.patch(f"{URL}/alice", json={"role": "admin"}, headers=headers),
        ]
        assert [problem(response, 403)["reason"] for response in answers] == ["role"] * 3

    def test_no_token_without_the_scope_and_none_of_a_lesser_user(self, cast: Flask) -> None:
        client = cast.test_client()
        problem(client.get(URL), 401)
        every_other = headers_of(cast, ADA, "read", "stream", "publish", "command", "rollout", "widget")
        assert problem(client.get(URL, headers=every_other), 403)["reason"] == "scope"
        assert problem(client.get(URL, headers=headers_of(cast, BOB, "admin")), 403)["reason"] == "role"

    def test_an_administrators_cookie_needs_its_csrf_token(self, cast: Flask) -> None:
        browser = logged_in(cast, ADA)
        assert problem(browser.post(URL, json=NEW), 400)["reason"] == "csrf"
        assert problem(browser.patch(f"{URL}/bob", json={"disabled": True}), 400)["reason"] == "csrf"
        headers = {"X-CSRFToken": csrf_token(browser, "/")}
        assert browser.post(URL, json=NEW, headers=headers).status_code == 201


class TestSeeing:
    def test_everyone_is_listed_by_name(self, desk: Desk) -> None:
        assert list(desk.get()) == sorted(person.name for person in CAST)
        assert list(desk.get()["bob"]) == ["name", "role", "disabled", "createdAt"]
        assert (desk.get()["bob"]["role"], desk.get()["bob"]["disabled"]) == ("operator", False)

    def test_no_password_is_told_in_any_form(self, desk: Desk) -> None:
        text = json.dumps(
            [desk.get(), desk.post(NEW).get_json(), desk.patch("dora", password="another one entirely").get_json()]
        )
        assert "password" not in text.lower()
        assert "pbkdf2" not in text
        assert "another one entirely" not in text


class TestAdding:
    def test_a_new_user_can_log_in_and_is_audited(self, desk: Desk) -> None:
        response = desk.post(NEW)
        assert (response.status_code, response.get_json()) == (201, desk.get()["dora"])
        assert log_in(desk.app.test_client(), Person("dora", "viewer"), "long enough for anybody").status_code == 303
        assert desk.audit()[-1] == ("ada", "user-add", "dora")

    def test_a_name_is_given_once_even_of_a_disabled_user(self, desk: Desk) -> None:
        desk.patch("alice", disabled=True)
        assert list(problem(desk.post({**NEW, "name": "alice"}), 409)["errors"]) == ["name"]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": "a b"}, "name"),
            ({"name": "x" * 65}, "name"),
            ({"name": "a\n"}, "name"),
            ({"name": 7}, "name"),
            ({"name": "guardrail"}, "name"),
            ({"role": "king"}, "role"),
            ({"role": ["admin"]}, "role"),
            ({"password": "short"}, "password"),
            ({"password": "x" * 1_001}, "password"),
            ({"password": "half a pair \ud800"}, "password"),
            ({"password": None}, "password"),
            ({"disabled": False}, "disabled"),
        ],
    )
    def test_a_bad_field_is_named_and_no_password_repeated(self, desk: Desk, change: Any, field: str) -> None:
        response = desk.post({**NEW, **change})
        assert list(problem(response, 400)["errors"]) == [field]
        assert "long enough for anybody" not in response.text
        assert set(desk.get()) == {person.name for person in CAST}

    def test_every_missing_field_is_named(self, desk: Desk) -> None:
        assert list(problem(desk.post({}), 400)["errors"]) == ["name", "role", "password"]

    @pytest.mark.parametrize("body", [[], [NEW], "dora", 7])
    def test_a_body_that_is_no_object_is_refused(self, desk: Desk, body: Any) -> None:
        problem(desk.post(body), 400)

    def test_a_password_is_hashed_while_no_connection_is_held(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held: list[int] = []

        def hash_slowly(_password: str) -> str:
            held.append(db.engine.pool.checkedout())  # type: ignore[attr-defined]
            return "a hash"

        monkeypatch.setattr(users, "generate_password_hash", hash_slowly)
        assert desk.post(NEW).status_code == 201
        assert desk.patch("dora", password="another one entirely").status_code == 200
        assert held == [0, 0]

    def test_too_many_hashes_at_once_are_503(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(users, "HASH_WAIT_S", 0.0)
        monkeypatch.setattr(users, "_hashing", users.threading.BoundedSemaphore(1))
        with users._hashing:
            response = desk.post(NEW)
        assert response.headers["Retry-After"]
        problem(response, 503)
        assert "dora" not in desk.get()


class TestChanging:
    def test_a_role_changes_and_reaches_open_streams(self, desk: Desk) -> None:
        browser = logged_in(desk.app, ALICE)
        response = desk.patch("alice", role="operator")
        assert (response.status_code, response.get_json()) == (200, desk.get()["alice"])
        assert desk.get()["alice"]["role"] == "operator"
        assert desk.audit()[-1] == ("ada", "user-role", "alice")
        assert desk.told() == [("control.user_changed", "control", {"user": "alice"})]
        assert browser.get("/", headers={"Accept": "text/html"}).status_code == 200, "the login goes on"

    def test_a_new_password_ends_every_login_and_is_the_only_one_that_works(self, desk: Desk) -> None:
        browsers = [logged_in(desk.app, ALICE), logged_in(desk.app, ALICE)]
        assert desk.patch("alice", password="another one entirely").status_code == 200
        for browser in browsers:
            assert browser.get("/api/events", headers={"Accept": "application/json"}).status_code == 401
        assert log_in(desk.app.test_client(), ALICE, PASSWORD).status_code == 401
        assert log_in(desk.app.test_client(), ALICE, "another one entirely").status_code == 303
        assert desk.audit()[-1] == ("ada", "user-password", "alice")
        assert desk.told() == [("control.user_changed", "control", {"user": "alice"})]

    def test_a_disabled_user_is_out_at_once_and_may_come_back(self, desk: Desk) -> None:
        browser, token = logged_in(desk.app, ALICE), bearer(make_token(desk.app, ALICE, "read")[1])
        shown = desk.patch("alice", disabled=True).get_json()
        assert (shown["disabled"], "disabledAt" in shown) == (True, True)
        assert browser.get("/api/events", headers={"Accept": "application/json"}).status_code == 401
        assert desk.app.test_client().get("/api/events", headers=token).status_code == 401
        assert log_in(desk.app.test_client(), ALICE).status_code == 401

        assert desk.patch("alice", disabled=False).get_json() == desk.get()["alice"]
        assert desk.get()["alice"]["disabled"] is False
        assert browser.get("/api/events", headers={"Accept": "application/json"}).status_code == 401, "an old login"
        assert desk.app.test_client().get("/api/events", headers=token).status_code == 401, "an old token"
        assert log_in(desk.app.test_client(), ALICE).status_code == 303
        assert [action for _, action, _ in desk.audit()][-3:] == ["user-disable", "token-revoke", "user-enable"]
        assert len(desk.told()) == 1

    def test_all_at_once_is_one_commit_one_event_and_an_entry_each(self, desk: Desk) -> None:
        assert desk.patch("bob", role="product", password="another one entirely", disabled=True).status_code == 200
        assert [action for _, action, _ in desk.audit()][-3:] == ["user-role", "user-password", "user-disable"]
        assert len(desk.told()) == 1

    def test_what_is_so_already_leaves_no_trace(self, desk: Desk) -> None:
        before = desk.audit()
        browser = logged_in(desk.app, BOB)
        assert desk.patch("bob", role="operator", disabled=False).status_code == 200
        assert (desk.audit(), desk.told()) == (before, [])
        assert browser.get("/api/events", headers={"Accept": "application/json"}).status_code == 200

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({}, "body"),
            ({"role": None}, "body"),
            ({"role": "king"}, "role"),
            ({"password": "short"}, "password"),
            ({"disabled": "yes"}, "disabled"),
            ({"disabled": 1}, "disabled"),
            ({"name": "eve"}, "name"),
        ],
    )
    def test_a_bad_change_is_refused_and_its_field_named(self, desk: Desk, change: Any, field: str) -> None:
        assert list(problem(desk.patch("bob", **change), 400)["errors"]) == [field]
        assert desk.told() == []

    @pytest.mark.parametrize("name", ["stranger", "a%20b", "%00", "x" * 300])
    def test_an_unknown_user_is_404(self, desk: Desk, name: str) -> None:
        problem(desk.patch(name, disabled=True), 404)

    def test_a_change_that_fails_late_changes_nothing(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.accounts.user_changes.append", lambda *_: 1 / 0)
        assert desk.patch("bob", role="admin").status_code == 500
        assert desk.get()["bob"]["role"] == "operator"


class TestTheLastAdministrator:
    @pytest.mark.parametrize(
        "change", [{"disabled": True}, {"role": "viewer"}, {"role": "operator", "disabled": False}]
    )
    def test_stays_one(self, desk: Desk, change: dict[str, Any]) -> None:
        refused = problem(desk.patch("ada", **change), 409)
        assert "last enabled administrator" in refused["detail"]
        assert (desk.get()["ada"]["role"], desk.get()["ada"]["disabled"]) == ("admin", False)

    def test_may_change_what_does_not_matter(self, desk: Desk) -> None:
        assert desk.patch("ada", role="admin", disabled=False, password="another one entirely").status_code == 200

    def test_may_go_once_there_is_another(self, desk: Desk) -> None:
        desk.patch("bob", role="admin")
        assert desk.patch("ada", role="viewer").status_code == 200
        assert desk.patch("bob", disabled=True).status_code == 403, "ada is none any more"

    def test_another_who_is_disabled_does_not_count(self, desk: Desk) -> None:
        desk.patch("bob", role="admin")
        desk.patch("bob", disabled=True)
        problem(desk.patch("ada", disabled=True), 409)

    def test_can_be_disabled_from_the_command_line_only(self, desk: Desk) -> None:
        with desk.app.app_context(), write() as session:
            users.disable(session, "ada", "cli:root")
        assert ("cli:root", "user-disable", "ada") in desk.audit()


@pytest.mark.parametrize(
    "change", [{"role": "operator"}, {"password": "another one entirely"}, {"disabled": True}], ids=str
)
def test_an_open_stream_ends_with_the_change(live_app: Flask, change: dict[str, Any]) -> None:
    desk = Desk(live_app)
    with open_stream(live_app.test_client(), headers=headers_of(live_app, PIA)) as stream:
        stream.frames(1)
        assert desk.patch("pia", **change).status_code == 200
        assert stream.until("bye")[-1].json()["reason"] == "revoked"


def test_the_roles_that_can_be_given_are_those_there_are() -> None:
    assert get_args(user_routes.Role) == ROLES

"""Charlie never sees what is Alice's, whichever way he asks."""

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.accounts import tokens, users
from app.accounts.user_changes import UserChange
from app.db import write
from tests.notifications import scene
from tests.notifications.scene import post
from tests.support.cast import ADA, ALICE, BOB, CHARLIE, PIA, Person, bearer, headers_of, logged_in

SECRET = "Only for Alice"
# All that a widget's token is for, of every route that there is.
MAY = {("GET", "/notifications"), ("POST", "/notifications/read"), ("GET", "/widgets/notifications/content")}
OPEN_TO_ALL = {"/login", "/logout", "/healthz", "/readyz", "/widgets/notifications", "/audit/client-error"}
READS = [
    "/notifications",
    "/notifications?q=Alice",
    "/notifications/panel",
    "/widgets/notifications",
    "/widgets/notifications/content",
    "/api/events?after=0",
    "/api/events/frames?after=0",
    "/",
]


@pytest.fixture
def told(live_app: Flask) -> Flask:
    scene.notice(live_app, "user:alice", title=SECRET)
    return live_app


def widget_token(app: Flask, user: str) -> str:
    answer = app.test_client().post("/api/widgets/token", json={"user": user}, headers=headers_of(app, ADA, "admin"))
    assert answer.status_code == 201, answer.text
    assert answer.json["expiresInS"] == 600
    return str(answer.json["token"])


def every_route(app: Flask) -> Iterator[tuple[str, str]]:
    """Method and address, the address with something in place of its variables."""
    for rule in app.url_map.iter_rules():
        address = "/".join("1" if "<" in part else part for part in rule.rule.split("/"))
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, address


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("person", [CHARLIE, BOB, ADA])
def test_no_path_shows_it_to_others(told: Flask, path: str, person: Person) -> None:
    for accept in ("text/html", "application/json", "*/*"):
        assert SECRET not in logged_in(told, person).get(path, headers={"Accept": accept}).text


def test_she_herself_sees_it(told: Flask) -> None:
    alice = logged_in(told, ALICE)
    for path in READS[:3] + READS[4:6]:
        assert SECRET in alice.get(path, headers={"Accept": "*/*"}).text, path


def test_marking_it_read_for_her_is_not_possible(told: Flask) -> None:
    charlie, alice = headers_of(told, CHARLIE, "widget"), headers_of(told, ALICE, "widget")
    client = told.test_client()
    for body in ({"ids": [1]}, {"all": True}):
        assert client.post("/notifications/read", json=body, headers=charlie).json == {"unread": 0}
    assert client.get("/notifications", headers=alice).json["meta"]["unread"] == 1
    assert scene.events(told, "notification.changed") == []


def test_roles_hear_what_is_for_them(cast: Flask) -> None:
    scene.notice(cast, "role:operator", title="For operators")
    seen = {
        person.name: "For operators" in cast.test_client().get("/notifications", headers=headers_of(cast, person)).text
        for person in (ALICE, BOB, PIA, ADA)
    }
    assert seen == {"alice": False, "bob": True, "pia": False, "ada": True}


class TestWidget:
    def test_the_shell_is_the_same_for_everybody_and_sets_no_cookie(self, told: Flask) -> None:
        anonymous = told.test_client().get("/widgets/notifications", headers={"Accept": "text/html"})
        assert anonymous.status_code == 200
        assert "Set-Cookie" not in anonymous.headers
        assert "frame-ancestors 'self';" in anonymous.headers["Content-Security-Policy"]
        assert logged_in(told, ALICE).get("/widgets/notifications").data == anonymous.data

    def test_its_content_asks_who_is_there(self, told: Flask) -> None:
        assert told.test_client().get("/widgets/notifications/content").status_code == 401

    def test_a_token_shows_one_persons_and_marks_them_read(self, told: Flask, client: FlaskClient) -> None:
        alice, charlie = (bearer(widget_token(told, name)) for name in ("alice", "charlie"))
        assert SECRET in client.get("/widgets/notifications/content", headers=alice).text
        assert SECRET not in client.get("/widgets/notifications/content", headers=charlie).text
        assert client.post("/notifications/read", json={"all": True}, headers=alice).json == {"unread": 0}

    def test_and_does_nothing_else_on_any_route_there_is(self, told: Flask, client: FlaskClient) -> None:
        headers = {**bearer(widget_token(told, "ada")), "Accept": "application/json"}
        for method, address in every_route(told):
            answer = client.open(address, method=method, json={} if method != "GET" else None, headers=headers)
            if (method, address) in MAY:
                assert answer.status_code in (200, 400), f"{method} {address}: {answer.status_code}"
            elif address not in OPEN_TO_ALL and not address.startswith("/static/"):
                assert answer.status_code in (401, 403), f"{method} {address}: {answer.status_code}"

    def test_it_gets_no_page_with_more_on_it_than_notifications(self, told: Flask, client: FlaskClient) -> None:
        scene.watch(told, "mail", "Mail")
        headers = {**bearer(widget_token(told, "alice")), "Accept": "text/html"}
        for path in ("/notifications", "/widgets/notifications/content"):
            answer = client.get(path, headers=headers)
            assert SECRET in answer.text
            assert "Mail" not in answer.text
            assert "csrf" not in answer.text

    def test_it_ends(self, told: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        headers = bearer(widget_token(told, "alice"))
        monkeypatch.setattr(tokens, "WIDGET_TOKEN_S", -1)
        assert client.get("/widgets/notifications/content", headers=headers).status_code == 401

    def test_it_ends_with_its_user(self, told: Flask, client: FlaskClient) -> None:
        headers = bearer(widget_token(told, "alice"))
        with told.app_context(), write() as session:
            users.change(session, "alice", UserChange(disabled=True), "test")
        assert client.get("/widgets/notifications/content", headers=headers).status_code == 401

    def test_only_administrators_give_one_out(self, told: Flask) -> None:
        client = told.test_client()
        for headers in (headers_of(told, ADA, "read"), headers_of(told, BOB, "command")):
            assert client.post("/api/widgets/token", json={"user": "alice"}, headers=headers).status_code == 403
        assert post(logged_in(told, ALICE), "/api/widgets/token", {"user": "alice"}).status_code == 403
        unknown = client.post("/api/widgets/token", json={"user": "nobody"}, headers=headers_of(told, ADA, "admin"))
        assert unknown.status_code == 404

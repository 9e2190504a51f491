"""Every kind of credential, after each change of its user: what it may do follows the user, at once."""

from collections.abc import Callable

import pytest
from flask import Flask

from app.accounts import tokens, users
from app.accounts.actors import Actor
from app.accounts.models import User
from app.accounts.user_changes import UserChange
from app.db import read, write
from app.web.account import token_routes
from tests.support.cast import ADA, BOB, bearer, csrf_token, headers_of, log_in, logged_in, make_token, page_token
from tests.support.sse_client import open_stream

ONE = {"type": "deploy.done", "data": {}}

# Says how a program or browser of Bob's, who is an operator, is answered: (it reads, it publishes).
Ask = Callable[[], tuple[int, int]]


def with_token(app: Flask) -> Ask:
    headers = bearer(make_token(app, BOB, "read", "publish")[1])
    client = app.test_client()
    return lambda: (
        client.get("/api/events", headers=headers).status_code,
        client.post("/api/events", json=ONE, headers=headers).status_code,
    )


def with_login(app: Flask) -> Ask:
    browser = logged_in(app, BOB)
    json = {"Accept": "application/json"}

    def ask() -> tuple[int, int]:
        page = browser.get("/")
        token = page.text.split('name="csrf-token" content="')[1].split('"')[0] if page.status_code == 200 else ""
        posted = browser.post("/api/events", json=ONE, headers={**json, "X-CSRFToken": token})
        return browser.get("/api/events", headers=json).status_code, posted.status_code

    return ask


CHANGES: dict[str, list[UserChange]] = {
    "nothing": [],
    "demoted": [UserChange(role="viewer")],
    "demoted and promoted": [UserChange(role="viewer"), UserChange(role="operator")],
    "new password": [UserChange(password_hash="-")],
    "disabled": [UserChange(disabled=True)],
    "disabled and enabled": [UserChange(disabled=True), UserChange(disabled=False)],
}


def carry_out(app: Flask, changes: str) -> None:
    with app.app_context():
        for wanted in CHANGES[changes]:
            with write() as session:
                users.change(session, "bob", wanted, "test")


@pytest.mark.parametrize("credential", [with_token, with_login])
@pytest.mark.parametrize(
    ("changes", "then"),
    [
        ("nothing", (200, 201)),
        ("demoted", (200, 403)),
        ("demoted and promoted", (200, 201)),
        ("new password", (401, 401)),
        ("disabled", (401, 401)),
        ("disabled and enabled", (401, 401)),
    ],
)
def test_a_credential_does_what_its_user_may_now(
    cast: Flask, credential: Callable[[Flask], Ask], changes: str, then: tuple[int, int]
) -> None:
    ask = credential(cast)
    assert ask() == (200, 201)
    carry_out(cast, changes)
    assert ask() == then


def by_page_token(app: Flask) -> dict[str, str]:
    return bearer(page_token(logged_in(app, BOB)))


def by_stream_token(app: Flask) -> dict[str, str]:
    return bearer(make_token(app, BOB, "stream")[1])


def by_cookie(app: Flask) -> dict[str, str]:
    cookie = logged_in(app, BOB).get_cookie("beacon")
    assert cookie is not None
    return {"Cookie": f"beacon={cookie.value}"}


def by_admin_token(app: Flask) -> dict[str, str]:
    return bearer(make_token(app, BOB, "admin")[1])


def by_cookie_and_form(app: Flask) -> dict[str, str]:
    browser = logged_in(app, BOB)
    token, cookie = csrf_token(browser, "/"), browser.get_cookie("beacon")
    assert cookie is not None
    return {"Cookie": f"beacon={cookie.value}", "X-CSRFToken": token}


@pytest.mark.parametrize("credential", [by_page_token, by_stream_token, by_cookie])
@pytest.mark.parametrize("changes", CHANGES)
def test_open_streams_end_with_every_change_and_open_again_only_while_the_credential_is_good(
    live_app: Flask, credential: Callable[[Flask], dict[str, str]], changes: str
) -> None:
    headers, client = credential(live_app), live_app.test_client(use_cookies=False)
    with open_stream(client, headers=headers) as reader:
        assert reader.until("hello")
        carry_out(live_app, changes)
        if CHANGES[changes]:
            assert reader.rest()[-1].json()["reason"] == "revoked"
        else:
            assert reader.until("heartbeat")
    again = client.get("/api/stream/events", headers=headers, buffered=False)
    again.close()
    assert again.status_code == (200 if changes in ("nothing", "demoted", "demoted and promoted") else 401)


@pytest.mark.parametrize("changes", CHANGES)
def test_a_widgets_token_ends_with_the_other_credentials_of_its_user(cast: Flask, changes: str) -> None:
    asked = cast.test_client().post("/api/widgets/token", json={"user": "bob"}, headers=headers_of(cast, ADA, "admin"))
    headers = bearer(asked.get_json()["token"])
    client = cast.test_client()
    assert client.get("/widgets/notifications/content", headers=headers).status_code == 200
    carry_out(cast, changes)
    status = client.get("/widgets/notifications/content", headers=headers).status_code
    assert status == (200 if changes in ("nothing", "demoted", "demoted and promoted") else 401)


@pytest.mark.parametrize("changes", CHANGES)
def test_a_login_that_is_under_way_follows_its_user_too(
    cast: Flask, monkeypatch: pytest.MonkeyPatch, changes: str
) -> None:
    """The check of a password takes a tenth of a second, and seconds if many people log in."""
    check = users.verify_password

    def check_for_long(user: User | None, password: str) -> bool:
        is_right = check(user, password)
        carry_out(cast, changes)
        return is_right

    monkeypatch.setattr(users, "verify_password", check_for_long)
    browser = cast.test_client()
    is_good = changes in ("nothing", "demoted", "demoted and promoted")
    assert log_in(browser, BOB).status_code == (303 if is_good else 401)
    with cast.app_context(), write() as session:
        users.change(session, "bob", UserChange(disabled=False), "test")
    status = browser.get("/api/events", headers={"Accept": "application/json"}).status_code
    assert status == (200 if is_good else 401)


@pytest.mark.parametrize("credential", [by_admin_token, by_cookie_and_form])
@pytest.mark.parametrize("changes", CHANGES)
def test_a_token_that_is_being_made_outlives_no_change_either(
    cast: Flask, monkeypatch: pytest.MonkeyPatch, credential: Callable[[Flask], dict[str, str]], changes: str
) -> None:
    headers, check = credential(cast), token_routes._check_may_create

    def check_before_the_change(who: Actor, owner: str, scopes: set[str]) -> None:
        check(who, owner, scopes)
        carry_out(cast, changes)

    monkeypatch.setattr(token_routes, "_check_may_create", check_before_the_change)
    made = cast.test_client(use_cookies=False).post("/api/tokens", json={"scopes": ["read"]}, headers=headers)
    is_good = changes in ("nothing", "demoted", "demoted and promoted")
    assert made.status_code == (201 if is_good else 401), made.text
    with cast.app_context(), read() as session:
        left = tokens.count_active(session, users.find(session, "bob"))
    assert left == (0 if not is_good else 2 if credential is by_admin_token else 1)


@pytest.mark.parametrize("changes", ["new password", "disabled"])
def test_a_known_browser_gets_nobody_in(cast: Flask, changes: str) -> None:
    browser = logged_in(cast, BOB)
    browser.delete_cookie("beacon")
    carry_out(cast, changes)
    assert log_in(browser, BOB).status_code == 401

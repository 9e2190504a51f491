"""Every kind of credential, after each change of its user: what it may do follows the user, at once."""

from collections.abc import Callable

import pytest
from flask import Flask

from app.accounts import people
from app.accounts.change import Change
from app.db import write
from tests.support.cast import BOB, bearer, logged_in, make_token

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


@pytest.mark.parametrize("credential", [with_token, with_login])
@pytest.mark.parametrize(
    ("changes", "then"),
    [
        ([], (200, 201)),
        ([Change(role="viewer")], (200, 403)),
        ([Change(role="viewer"), Change(role="operator")], (200, 201)),
        ([Change(password_hash="-")], (401, 401)),
        ([Change(disabled=True)], (401, 401)),
        ([Change(disabled=True), Change(disabled=False)], (401, 401)),
    ],
    ids=["nothing", "demoted", "demoted and promoted", "new password", "disabled", "disabled and enabled"],
)
def test_a_credential_does_what_its_user_may_now(
    cast: Flask, credential: Callable[[Flask], Ask], changes: list[Change], then: tuple[int, int]
) -> None:
    ask = credential(cast)
    assert ask() == (200, 201)
    with cast.app_context():
        for wanted in changes:
            with write() as session:
                people.change(session, "bob", wanted, "test")
    assert ask() == then

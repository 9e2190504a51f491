"""The cast: who may see what is tested with the same five people everywhere.

Alice is addressed by `user:alice`, Bob by `role:operator`; Charlie is neither, and must see nothing of theirs.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.accounts import users
from app.db import write
from app.eventlog.append import NewEvent, append

PASSWORD = "correct horse battery"
_CSRF = re.compile(r'name="csrf[-_]token" (?:value|content)="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    role: str


ALICE = Person("alice", "viewer")
BOB = Person("bob", "operator")
CHARLIE = Person("charlie", "viewer")
PIA = Person("pia", "product")
ADA = Person("ada", "admin")
CAST = (ALICE, BOB, CHARLIE, PIA, ADA)


def join(app: Flask, *persons: Person) -> None:
    """Give each a user."""
    with app.app_context(), write() as session:
        for person in persons:
            users.add(session, person.name, person.role, PASSWORD, "test")


def csrf_token(client: FlaskClient, path: str = "/login") -> str:
    """What a form or page at `path` carries for its next POST."""
    found = _CSRF.search(client.get(path).text)
    assert found, f"no CSRF token on {path}"
    return html.unescape(found[1])


def log_in(client: FlaskClient, person: Person, password: str = PASSWORD, next_: str = "") -> TestResponse:
    """As a browser does: fetch the form, post it with its token."""
    form = {"csrf_token": csrf_token(client), "username": person.name, "password": password, "next": next_}
    return client.post("/login", data=form)


def logged_in(app: Flask, person: Person) -> FlaskClient:
    """A browser of this person."""
    client = app.test_client()
    response = log_in(client, person)
    assert response.status_code == 303, response.text
    return client


def log_out(client: FlaskClient) -> TestResponse:
    return client.post("/logout", data={"csrf_token": csrf_token(client, "/")})


def page_token(client: FlaskClient) -> str:
    """The five-minute token with which a page of this browser opens its stream."""
    response = client.post("/api/stream/token", headers={"X-CSRFToken": csrf_token(client, "/")})
    assert response.status_code == 200, response.text
    return str(response.get_json()["token"])


def make_token(app: Flask, person: Person, *scopes: str, days: float | None = None) -> tuple[int, str]:
    """The id and the text of a new API token."""
    with app.app_context(), write() as session:
        row, text = users.add_token(session, person.name, list(scopes), days, "test")
        return row.id, text


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def headers_of(app: Flask, person: Person, *scopes: str) -> dict[str, str]:
    """The headers of a program of this person; scopes `stream` and `read` unless named."""
    return bearer(make_token(app, person, *(scopes or ("stream", "read")))[1])


def publish(app: Flask, *events: NewEvent) -> Sequence[int]:
    """Append as the application's own code does; the ids."""
    with app.app_context(), write() as session:
        return append(session, events)

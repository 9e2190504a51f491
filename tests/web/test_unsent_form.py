"""What was typed into a form that was refused before its view could show it is in the form again, for its user only."""

import hashlib
import html
import re
from collections.abc import Mapping, Sequence

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.accounts.models import LoginSession
from app.db import db, write
from app.infra.clock import utc_text
from app.web import unsent_form
from tests.support.cast import ADA, ALICE, BOB, PASSWORD, PIA, Person, csrf_token, log_out, logged_in
from tests.web.payloads import discrepancy
from tests.web.test_pages import watch

HTML = {"Accept": "text/html"}
REASON = "moved by hand, ask <Bob> & co"
BACK = "Your form was not sent. What you had typed is in it again."
MAIL = "/services/mail"
ACCEPT = f"{MAIL}/discrepancies/accept"
Fields = Mapping[str, str | Sequence[str]]


@pytest.fixture
def wrong(cast: Flask) -> Flask:
    """With two open differences of Mail."""
    watch(cast, "mail", discrepancy("job_1", "job_2"), "job_1", "job_2")
    return cast


def end_logins(app: Flask) -> None:
    with app.app_context(), write() as session:
        session.execute(db.update(LoginSession).values(ended_at=utc_text()))


def send(client: FlaskClient, token: str, address: str, page: str, fields: Fields) -> TestResponse:
    form = {"csrf_token": token, **fields}
    return client.post(address, data=form, headers={**HTML, "Referer": f"http://localhost{page}"})


def log_in_again(client: FlaskClient, refused: TestResponse, person: Person) -> str:
    """The page to which the link of the refusal and the login lead."""
    assert refused.status_code == 401
    assert "Your login has ended. Nothing was sent." in refused.text
    found = re.search(r'href="(/login\?next=[^"]*)"', refused.text)
    assert found
    address = html.unescape(found[1])
    login = client.get(address).text
    next_ = re.search(r'name="next" value="([^"]*)"', login)
    assert next_
    fields = {"username": person.name, "password": PASSWORD, "next": html.unescape(next_[1])}
    answer = client.post("/login", data={"csrf_token": csrf_token(client, address), **fields})
    assert answer.status_code == 303
    shown = client.get(answer.headers["Location"], headers=HTML)
    assert shown.status_code == 200, answer.headers["Location"]
    return shown.text


def come_back(app: Flask, person: Person, address: str, page: str, fields: Fields) -> str:
    """The page after a login that ended over a half-filled form."""
    client = logged_in(app, person)
    token = csrf_token(client, "/")
    end_logins(app)
    return log_in_again(client, send(client, token, address, page, fields), person)


def value_of(page: str, name: str) -> list[str]:
    tags = re.findall(rf'<input[^>]* name="{name}"[^>]*>', page)
    return [html.unescape(found[1]) for tag in tags if (found := re.search(r' value="([^"]*)"', tag))]


@pytest.mark.parametrize(
    ("person", "address", "page", "fields"),
    [
        (BOB, ACCEPT, MAIL, {"reason": REASON, "jobIds": ["job_1"]}),
        (PIA, "/rollout", "/rollout?percentage=30", {"percentage": "30", "reason": REASON, "do": "set"}),
        (PIA, "/rollout/plan", "/rollout", {"percentage": ["7", "60"], "minutes": ["5", "6"], "reason": REASON}),
        (BOB, "/notifications", "/notifications", {"text": REASON, "severity": "error", "minutes": "15"}),
        (ADA, "/admin/services", "/admin/services?kind=rq", {"name": REASON, "kind": "rq"}),
        (ADA, f"/admin/services{MAIL.removeprefix('/services')}", "/admin/services/mail", {"name": REASON}),
    ],
)
def test_after_the_login_the_form_is_there_as_it_was_typed(
    wrong: Flask, person: Person, address: str, page: str, fields: Fields
) -> None:
    text = come_back(wrong, person, address, page, fields)
    assert BACK in text
    for name in {"reason", "text", "name"} & set(fields):
        assert REASON in value_of(text, name)


def test_ticks_and_steps_are_there_too(wrong: Flask) -> None:
    text = come_back(wrong, BOB, ACCEPT, MAIL, {"reason": REASON, "jobIds": ["job_2"]})
    assert re.findall(r'value="(job_\d)"[^>]* checked', text) == ["job_2"]
    steps = {"percentage": ["7", "60"], "minutes": ["5", "6"], "reason": REASON}
    text = come_back(wrong, PIA, "/rollout/plan", "/rollout", steps)
    assert {"7", "60"} <= set(value_of(text, "percentage"))


def test_passwords_and_secrets_are_never_kept(wrong: Flask) -> None:
    client = logged_in(wrong, ADA)
    token = csrf_token(client, "/admin/services?kind=rq")
    end_logins(wrong)
    secrets = {"password": "hunter2", "url": "redis://me:hunter2@host/0"}
    refused = send(client, token, "/admin/services", "/admin/services?kind=rq", {"name": "x", **secrets})
    cookie = client.get_cookie(unsent_form.COOKIE_NAME)
    assert cookie is not None
    with wrong.test_request_context():
        kept = unsent_form.serializer("beacon-unsent-form").loads(cookie.value)
    assert kept["fields"] == {"name": ["x"]}
    assert "hunter2" not in log_in_again(client, refused, ADA)


def test_somebody_else_who_logs_in_sees_nothing_of_it(wrong: Flask) -> None:
    client = logged_in(wrong, BOB)
    token = csrf_token(client, MAIL)
    end_logins(wrong)
    text = log_in_again(client, send(client, token, ACCEPT, MAIL, {"reason": "only mine"}), ALICE)
    assert "only mine" not in text
    assert BACK not in text


def test_a_logout_in_another_tab_loses_nothing_either(wrong: Flask) -> None:
    client = logged_in(wrong, BOB)
    token = csrf_token(client, MAIL)
    log_out(client)
    text = log_in_again(client, send(client, token, ACCEPT, MAIL, {"reason": REASON, "jobIds": "job_1"}), BOB)
    assert REASON in value_of(text, "reason")


def test_an_outdated_form_is_filled_in_again_once_and_for_a_person_only(wrong: Flask) -> None:
    client = logged_in(wrong, BOB)
    refused = send(client, "outdated", ACCEPT, MAIL, {"reason": REASON, "jobIds": "job_1"})
    assert (refused.status_code, "What you typed is kept" in refused.text) == (400, True)
    assert BACK not in client.get(MAIL, headers={**HTML, "HX-Request": "true"}).text
    assert BACK not in client.get(MAIL, headers={**HTML, "Sec-Fetch-Dest": "empty"}).text
    assert REASON in value_of(client.get(MAIL, headers=HTML).text, "reason")
    assert REASON not in value_of(client.get(MAIL, headers=HTML).text, "reason")


def test_what_has_no_form_any_more_is_shown_to_be_copied(wrong: Flask) -> None:
    client = logged_in(wrong, BOB)
    send(client, "outdated", "/services/mail/commands", MAIL, {"reason": REASON, "target": "job_9"})
    assert f"You had typed: {html.escape(REASON)}" in client.get(MAIL, headers=HTML).text


def test_too_many_ticks_for_a_cookie_are_left_out_and_said_so(wrong: Flask) -> None:
    ids = [hashlib.sha512(str(number).encode()).hexdigest() for number in range(50)]
    text = come_back(wrong, BOB, ACCEPT, MAIL, {"reason": REASON, "jobIds": ids})
    assert "Select the items again: there were too many to keep." in text
    assert REASON in value_of(text, "reason")


@pytest.mark.parametrize("referrer", ["", "http://elsewhere.example/x"])
def test_nothing_is_kept_of_a_form_that_is_not_beacons_own(wrong: Flask, referrer: str) -> None:
    client = logged_in(wrong, BOB)
    client.post(ACCEPT, data={"reason": REASON}, headers={**HTML, "Referer": referrer})
    assert client.get_cookie(unsent_form.COOKIE_NAME) is None

"""A form that was refused leads back to its page, and a login leads to a page, never to the address of a form."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.web.page_address import local_path
from tests.support.cast import BOB, csrf_token, log_in, logged_in
from tests.web.record_scene import watched

HTML = {"Accept": "text/html"}
JOBS = "/services/mail/jobs?state=failed"


@pytest.fixture
def bob(cast: Flask) -> FlaskClient:
    watched(cast, "mail")
    return logged_in(cast, BOB)


def send_nothing_ticked(client: FlaskClient, referrer: str) -> str:
    form = {"csrf_token": csrf_token(client, "/"), "nonce": "n1", "do": "retry-job", "scope": "selected"}
    answer = client.post("/services/mail/commands", data=form, headers={**HTML, "Referer": referrer})
    assert answer.status_code == 400
    return answer.text


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("/services/mail/commands", {"do": "retry-job", "scope": "selected"}),
        ("/services/mail/commands", {"do": "delete-job", "scope": "selected"}),
        ("/services/mail/commands", {"do": "retry-job"}),
        ("/services/mail/discrepancies/accept", {"reason": "deleted by hand"}),
    ],
)
def test_every_bulk_form_without_a_tick_says_what_to_do_and_leads_back(
    bob: FlaskClient, address: str, form: dict[str, str]
) -> None:
    sent = {"csrf_token": csrf_token(bob, "/"), "nonce": "n1", **form}
    answer = bob.post(address, data=sent, headers={**HTML, "Referer": f"http://localhost{JOBS}"})
    assert answer.status_code == 400
    assert "Select at least one job" in answer.text
    assert "What you typed" not in answer.text
    assert "Back to the form" in answer.text or 'class="message" role="alert"' in answer.text


def test_a_bulk_command_without_jobs_says_what_to_do_and_leads_back(bob: FlaskClient) -> None:
    text = send_nothing_ticked(bob, f"http://localhost{JOBS}")
    assert "Select at least one job, then choose what to do." in text
    assert f'href="{JOBS}">Back to the form' in text


@pytest.mark.parametrize("referrer", ["", "http://elsewhere.example/x", "http://localhost//elsewhere.example"])
def test_nothing_leads_to_another_site(bob: FlaskClient, referrer: str) -> None:
    text = send_nothing_ticked(bob, referrer)
    assert "elsewhere" not in text
    assert 'href="/">Go to the dashboard' in text


def test_who_was_signed_out_over_a_form_comes_back_to_its_page(cast: Flask) -> None:
    client = cast.test_client()
    answer = client.post("/services/mail/commands", headers={**HTML, "Referer": f"http://localhost{JOBS}"})
    assert answer.status_code == 401
    assert 'href="/login?next=/services/mail/jobs%3Fstate%3Dfailed"' in answer.text


def test_a_login_never_leads_to_the_address_of_a_form(cast: Flask) -> None:
    with cast.test_request_context():
        routes = cast.url_map.bind("")
        posts = [rule for rule in cast.url_map.iter_rules() if "POST" in (rule.methods or ())]
        paths = [rule.build(dict.fromkeys(rule.arguments, "mail")) for rule in posts]
        targets = [local_path(path[1]) for path in paths if path is not None]
        assert len(targets) == len(posts) > 20
        assert [one for one in targets if not routes.test(one, "GET")] == []


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("/services/mail/discrepancies/accept?x=1", "/services/mail"),
        ("/audit/verify", "/audit"),
        ("/theme", "/"),
        ("/services/mail/jobs?state=failed", "/services/mail/jobs?state=failed"),
        ("/nowhere/at/all", "/nowhere/at/all"),
    ],
)
def test_the_address_of_a_form_becomes_the_page_above_it(cast: Flask, address: str, page: str) -> None:
    assert log_in(cast.test_client(), BOB, next_=address).headers["Location"] == page

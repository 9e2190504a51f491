"""What a broken page may tell the server: anyone, little, seldom, and never what was on the screen."""

import logging
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.web.audit.client_errors import MAX_BODY_BYTES, MAX_REPORTS_PER_SENDER, MAX_REPORTS_PER_WORKER
from tests.support.cast import ALICE, logged_in

REPORT = {
    "where": "swap",
    "message": "boom",
    "stack": "Error: boom\n  at /static/x/js/a.js?q=1:2:3",
    "page": "/?q=secret",
}


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "app.web.audit.client_errors")
    return caplog


def send(client: FlaskClient, **changed: Any) -> TestResponse:
    return client.post("/audit/client-error", json={**REPORT, **changed})


def test_a_page_of_somebody_who_is_logged_in_is_heard_without_a_form_token(
    cast: Flask, told: pytest.LogCaptureFixture
) -> None:
    assert send(logged_in(cast, ALICE)).status_code == 204
    assert "user=alice where=swap page=/ message='boom'" in told.text
    assert cast.extensions["beacon"].client_errors.counts == {"swap": 1}


def test_so_is_the_login_page_without_its_address(client: FlaskClient, told: pytest.LogCaptureFixture) -> None:
    assert send(client).status_code == 204
    assert "user=- where=swap" in told.text
    assert "127.0.0.1" not in told.text


def test_neither_searches_nor_more_than_a_few_words_are_logged(
    client: FlaskClient, told: pytest.LogCaptureFixture
) -> None:
    send(client, message="x" * 4_000, stack="y" * 9_000)
    assert "secret" not in told.text
    assert "x" * 301 not in told.text
    assert "y" * 2_001 not in told.text


def test_a_report_is_one_line_of_the_log(client: FlaskClient, told: pytest.LogCaptureFixture) -> None:
    send(client, message="a\n2026-01-01 CRITICAL forged", page="/\nforged", where="x\ny")
    [record] = told.records
    assert "\n" not in record.getMessage()
    assert "where=other" in record.getMessage()


@pytest.mark.parametrize("body", [{}, {"message": ""}, {"message": 3}, [], "text"])
def test_what_is_no_report_is_refused(client: FlaskClient, body: Any) -> None:
    response = client.post("/audit/client-error", json=body)
    assert (response.status_code, response.content_type) == (400, "application/problem+json")


def test_a_body_over_16_kib_is_refused(client: FlaskClient) -> None:
    assert send(client, stack="x" * MAX_BODY_BYTES).status_code == 413
    assert client.post("/audit/client-error", data="boom").status_code == 415


def test_a_page_that_fails_in_a_loop_is_told_to_wait(client: FlaskClient) -> None:
    answers = [send(client) for _ in range(MAX_REPORTS_PER_SENDER * 2 + 1)]
    assert [answer.status_code for answer in answers][:MAX_REPORTS_PER_SENDER] == [204] * MAX_REPORTS_PER_SENDER
    refused = [answer for answer in answers if answer.status_code == 429]
    assert int(refused[0].headers["Retry-After"]) > 0


def test_many_addresses_together_cannot_fill_the_log(client: FlaskClient) -> None:
    places = [{"REMOTE_ADDR": f"10.0.0.{place}"} for place in range(MAX_REPORTS_PER_WORKER * 2)]
    statuses = [client.post("/audit/client-error", json=REPORT, environ_base=place).status_code for place in places]
    assert statuses.count(204) <= MAX_REPORTS_PER_WORKER * 2 - 1
    assert 429 in statuses


def test_everything_else_still_needs_the_form_token(cast: Flask) -> None:
    assert logged_in(cast, ALICE).post("/logout").status_code == 400


def test_it_is_counted_for_prometheus(cast: Flask) -> None:
    client = logged_in(cast, ALICE)
    send(client)
    assert 'beacon_client_errors_total{where="swap"} 1.0' in client.get("/metrics").text

"""How many bodies one sender may have under way, and how a body is read."""

import io
from contextlib import ExitStack

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.db import db
from app.infra.problems import Problem
from app.web.known_browser import find_browser_key
from app.web.request_body import MAX_BODIES_PER_SENDER, MAX_BYTES_PER_SENDER, BodySlots, body_slots
from tests.support.cast import ADA, PASSWORD, csrf_token, headers_of, log_out, logged_in

EVENT = b'{"type": "body.check", "data": {}}'


def test_a_sender_has_few_bodies_usage_and_gets_places_back() -> None:
    bodies = BodySlots()
    with ExitStack() as held:
        for _ in range(MAX_BODIES_PER_SENDER):
            held.enter_context(bodies.acquire("one", 10))
        with pytest.raises(Problem) as refused, bodies.acquire("one", 10):
            pass
        assert (refused.value.status, "Retry-After" in refused.value.headers) == (429, True)
        with bodies.acquire("another", 10):
            pass
    with bodies.acquire("one", 10):
        pass


def test_few_large_bodies_fill_a_sender_s_memory_and_one_always_fits() -> None:
    bodies = BodySlots()
    with bodies.acquire("one", 2 * MAX_BYTES_PER_SENDER), pytest.raises(Problem), bodies.acquire("one", 1):
        pass


def test_only_what_is_known_has_places_of_its_own() -> None:
    bodies = BodySlots()
    bodies.remember_token("good")
    senders = {
        bodies.identify_sender(None, None, "192.0.2.1"),
        bodies.identify_sender(None, "made up", "192.0.2.1"),
        bodies.identify_sender("a login", "made up", "192.0.2.1"),
    }
    assert senders == {"address 192.0.2.1"}
    assert bodies.identify_sender("a login", None, "192.0.2.1") == "login a login"
    assert bodies.identify_sender(None, "good", "192.0.2.1").startswith("token ")
    assert "good" not in bodies.identify_sender(None, "good", "192.0.2.1").split()


def test_a_stalled_stranger_keeps_no_colleague_at_the_same_address_from_logging_in(cast: Flask) -> None:
    known, stranger = logged_in(cast, ADA), cast.test_client()
    assert log_out(known).status_code == 303
    tokens = {client: csrf_token(client) for client in (known, stranger)}

    def log_in_again(client: FlaskClient) -> int:
        form = {"csrf_token": tokens[client], "username": ADA.name, "password": PASSWORD}
        return client.post("/login", data=form).status_code

    with cast.app_context(), ExitStack() as held:
        for _ in range(MAX_BODIES_PER_SENDER):
            held.enter_context(body_slots().acquire("address 127.0.0.1", 10))
        assert log_in_again(stranger) == 429
        stranger.set_cookie("beacon-browser", "made up")
        assert log_in_again(stranger) == 429
        assert log_in_again(known) == 303


def test_one_browser_has_no_more_places_than_any_other_sender(cast: Flask) -> None:
    first, second = logged_in(cast, ADA), logged_in(cast, ADA)
    keys = set()
    for browser in (first, first, second):
        cookie = browser.get_cookie("beacon-browser")
        assert cookie is not None
        with cast.test_request_context(headers={"Cookie": f"beacon-browser={cookie.value}"}):
            keys.add(body_slots().identify_sender(None, None, "192.0.2.1", find_browser_key))
            assert body_slots().identify_sender(None, "made up", "192.0.2.1", find_browser_key) == "address 192.0.2.1"
    assert len(keys) == 2
    assert not any("192.0.2.1" in key for key in keys)


def test_all_addresses_of_one_network_are_one_sender() -> None:
    bodies = BodySlots()
    assert bodies.identify_sender(None, None, "2001:db8::1") == bodies.identify_sender(None, None, "2001:db8::2")


class Watching(io.BytesIO):
    """A body that notes how many database connections are in use whenever a piece of it is asked for."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.in_use: list[int] = []

    def read(self, size: int | None = -1) -> bytes:
        self.in_use.append(db.engine.pool.checkedout())  # type: ignore[attr-defined]  # every pool of ours counts
        return super().read(size)


@pytest.mark.parametrize("path", ["/api/events", "/audit/client-error", "/login", "/logout", "/commands/run"])
def test_no_connection_is_in_use_while_a_body_is_read(cast: Flask, path: str) -> None:
    body = Watching(EVENT)
    base = {"wsgi.input": body, "CONTENT_LENGTH": str(len(EVENT)), "CONTENT_TYPE": "application/json"}
    client, headers = logged_in(cast, ADA), headers_of(cast, ADA, "publish", "command")
    client.open(path, method="POST", headers=headers, environ_overrides=base)
    assert body.in_use
    assert not any(body.in_use)


def test_a_body_in_chunks_is_read_to_its_end_and_no_further_than_the_limit(cast: Flask, client: FlaskClient) -> None:
    headers = headers_of(cast, ADA, "publish")
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}

    def send(path: str, body: bytes) -> int:
        source = io.BytesIO(body)
        base = {**chunked, "wsgi.input": source, "CONTENT_TYPE": "application/json"}
        return client.open(path, method="POST", headers=headers, environ_overrides=base).status_code

    assert send("/api/events", EVENT) == 201
    assert send("/audit/client-error", b'{"message": "x"}') == 204
    assert send("/audit/client-error", b'{"message": "x"}' + b" " * 16 * 1024) == 413


def test_a_body_that_ends_too_early_is_no_request(cast: Flask, client: FlaskClient) -> None:
    base = {"CONTENT_LENGTH": "100", "wsgi.input": io.BytesIO(EVENT), "CONTENT_TYPE": "application/json"}
    answer = client.open("/api/events", method="POST", headers=headers_of(cast, ADA, "publish"), environ_overrides=base)
    assert answer.status_code == 400
    assert "66 bytes before its Content-Length" in answer.get_json()["detail"]

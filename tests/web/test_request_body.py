"""How many bodies one sender may have under way, and how a body is read."""

import io
from contextlib import ExitStack

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.db import db
from app.infra.problems import Problem
from app.web.request_body import MAX_BODIES_PER_SENDER, MAX_BYTES_PER_SENDER, BodySlots
from tests.support.cast import ADA, headers_of, logged_in

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

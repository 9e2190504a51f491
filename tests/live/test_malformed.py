"""Bytes that are no request: each gets a 400 that a program can read, and the server's log holds no traceback."""

import json

import pytest

from tests.live.raw import Raw
from tests.support.beacon_server import Beacon

POST = "POST /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
CHUNKED = f"{POST}Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\n bad name: y\r\n\r\n", 400),
        (f"GET /{'a' * 10_000} HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (f"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {'a' * 10_000}\r\n\r\n", 431),
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),
        (f"{CHUNKED}zz\r\n[]\r\n0\r\n\r\n", 400),
        (f"{CHUNKED}2\r\n[]no end\r\n0\r\n\r\n", 400),
        (f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n", 400),
        (f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n[]\r\n0\r\n\r\n", 400),
    ],
    ids=[
        "no request line",
        "version",
        "no colon",
        "folded header",
        "long line",
        "long header",
        "no host",
        "bad chunk size",
        "chunk without end",
        "another coding",
        "two lengths",
    ],
)
def test_what_is_no_request_is_refused_as_a_problem(beacon: Beacon, sent: str, status: int) -> None:
    token = beacon.token("bob", "publish")
    with Raw(beacon) as raw:
        raw.send(sent.replace("{token}", token).encode())
        raw.until(b"\r\n\r\n")
        raw.until(b"}")
        head = raw.head.decode().lower()
        problem, _ = json.JSONDecoder().raw_decode(raw.body.decode())  # the rest of a bad body is answered as well
    assert head.startswith(f"http/1.1 {status} ")
    assert "content-type: application/problem+json" in head
    assert "x-content-type-options: nosniff" in head
    assert "no-store" in head
    assert (problem["status"], problem["title"] != "", problem["detail"] != "") == (status, True, True)
    assert "Traceback" not in beacon.log_text()

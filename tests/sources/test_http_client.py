"""One bounded GET: nothing that a server does holds it for longer than its deadline, and every failure has words."""

import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from app.sources.http_client import HttpClient
from app.sources.protocol import SourceError
from tests.sources.upstream import Upstream, send
from tests.support.machine import scaled
from tests.support.ports import free_port

ANSWER_S = 0.4
# What a loaded machine may add; the drips below would take many times as long.
SLACK_S = 2.0


def failure(url: str, **limits: float) -> str:
    with pytest.raises(SourceError) as caught:
        HttpClient(url, **{"answer_s": ANSWER_S, **limits}).get("/x")  # type: ignore[arg-type]
    return caught.value.reason


def test_json_is_answered_with_its_status(service: Upstream) -> None:
    service.json("/x", {"a": [1, "é"]})
    answer = HttpClient(service.url).get("/x")
    assert (answer.status, answer.json) == (200, {"a": [1, "é"]})


def test_a_status_that_was_expected_is_an_answer(service: Upstream) -> None:
    service.json("/x", {"state": "failed"}, status=410)
    assert HttpClient(service.url).get("/x", expect=frozenset({200, 410})).status == 410


def test_connections_are_kept_between_requests(service: Upstream) -> None:
    ports: set[int] = set()

    def note(request: BaseHTTPRequestHandler) -> None:
        ports.add(request.client_address[1])
        send(request, b"{}")

    service.answers["/x"] = note
    client = HttpClient(service.url)
    for _ in range(5):
        client.get("/x")
    assert len(ports) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(service: Upstream, status: int) -> None:
    service.raw("/x", b"", status, Location=f"{service.url}/secret")
    service.json("/secret", {})
    assert failure(service.url) == f"answered {status}, a redirect, which Beacon does not follow"
    assert service.asked == ["/x"]


@pytest.mark.parametrize("status", [201, 204, 400, 401, 404, 500, 503])
def test_another_status_is_named(service: Upstream, status: int) -> None:
    service.raw("/x", b"", status)
    assert failure(service.url) == f"answered {status}"


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": 1', b"\xff\xfe\x00", b'{"a": 1} {"b": 2}', b"[" * 100_000])
def test_what_is_not_json_is_garbage(service: Upstream, body: bytes) -> None:
    service.raw("/x", body)
    assert failure(service.url) == "answered something that is not JSON"


def test_a_refused_connection_is_named() -> None:
    assert failure(f"http://127.0.0.1:{free_port()}") == "refused the connection"


def test_a_name_that_does_not_exist_is_named() -> None:
    assert failure("http://beacon.invalid", answer_s=5) == "has an address whose name cannot be resolved"


def test_an_answer_that_says_it_is_too_large_is_not_read(service: Upstream) -> None:
    service.answers["/x"] = lambda request: send(request, b"[]", Content_Length=str(9 * 1024 * 1024))
    assert failure(service.url) == "answered with more than 8 MiB"


def test_an_answer_without_a_length_is_cut_at_the_limit(service: Upstream) -> None:
    sent = 0

    def endless(request: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()
        while not service.released.is_set():
            sent += request.wfile.write(b" " * 65536)

    service.answers["/x"] = endless
    assert failure(service.url, max_bytes=1024 * 1024, answer_s=30) == "answered with more than 1 MiB"
    assert sent < 64 * 1024 * 1024, "the rest of the answer was read all the same"


def test_a_connection_closed_in_the_middle_is_named(service: Upstream) -> None:
    def half(request: BaseHTTPRequestHandler) -> None:
        send(request, b'{"a":', Content_Length="100")
        request.close_connection = True

    service.answers["/x"] = half
    assert failure(service.url) == "closed the connection before its answer was complete"


def drip_headers(service: Upstream, request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _drip(service, request, b"a")


def drip_body(service: Upstream, request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    _drip(service, request, b" ")


def drip_body_without_length(service: Upstream, request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    _drip(service, request, b" ")


def drip_chunks(service: Upstream, request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    _drip(service, request, b"1\r\n \r\n")


def drip_the_size_of_a_chunk(service: Upstream, request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    _drip(service, request, b"0")


def say_nothing(service: Upstream, request: BaseHTTPRequestHandler) -> None:
    service.hold()


def _drip(service: Upstream, request: BaseHTTPRequestHandler, piece: bytes) -> None:
    """For longer than any deadline here, but not for ever: a client without one must fail its test, not hang it."""
    ends = time.monotonic() + scaled(ANSWER_S + 2 * SLACK_S)
    while time.monotonic() < ends and not service.released.wait(0.02):
        request.wfile.write(piece)


@pytest.mark.parametrize(
    "misbehave",
    [
        drip_headers,
        drip_body,
        drip_body_without_length,
        drip_chunks,
        drip_the_size_of_a_chunk,
        say_nothing,
    ],
)
def test_the_deadline_beats_a_server_that_drips(
    service: Upstream, misbehave: Callable[[Upstream, BaseHTTPRequestHandler], None]
) -> None:
    service.answers["/x"] = lambda request: misbehave(service, request)
    began = time.monotonic()
    assert failure(service.url) == f"did not answer within {ANSWER_S:g} s"
    assert ANSWER_S * 0.9 < time.monotonic() - began < scaled(ANSWER_S + SLACK_S)


def test_a_request_after_one_that_was_cut_is_answered(service: Upstream) -> None:
    service.answers["/slow"] = lambda request: drip_body(service, request)
    service.json("/x", {})
    client = HttpClient(service.url, answer_s=scaled(ANSWER_S))  # the second request has to be answered within it too
    with pytest.raises(SourceError):
        client.get("/slow")
    assert client.get("/x").json == {}


def test_a_finished_request_leaves_no_deadline_behind(service: Upstream) -> None:
    service.json("/x", {})
    client = HttpClient(service.url, answer_s=scaled(0.4))
    client.get("/x")
    ended = time.monotonic() + scaled(0.4) + 0.1
    while time.monotonic() < ended:  # across the moment at which the first deadline would have cut the connection
        assert client.get("/x").json == {}


def test_proxies_and_credentials_of_this_machine_are_not_used(
    service: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    service.json("/x", {})
    assert HttpClient(service.url).get("/x").json == {}

"""What `beacon doctor --url` says of a stream that something in between answers, holds back or ends."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from click.testing import CliRunner

from app.cli import main, outside_check, outside_stream

HELLO = 'event: hello\ndata: {"heartbeatS": 0.1}\n\n'
BEAT = "event: heartbeat\ndata: {}\n\n"
STREAM, HTML, PROBLEM = "text/event-stream; charset=utf-8", "text/html", "application/problem+json"
FLAG_OFF = json.dumps({"reason": "flag-off"})
REFUSED = json.dumps({"detail": "This token has no scope stream."})

Serve = Callable[..., str]


class Front(ThreadingHTTPServer):
    """Answers every request the same way; a body is left open until the test ends, unless it `ends`."""

    daemon_threads = False
    status, kind, text, ends = 200, STREAM, "", False
    over: threading.Event


class Handler(BaseHTTPRequestHandler):
    server: Front
    tokens: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.tokens.append(self.headers.get("Authorization", ""))
        self.send_response(self.server.status)
        self.send_header("Content-Type", self.server.kind)
        self.end_headers()
        self.wfile.write(self.server.text.encode())
        if not self.server.ends:
            self.server.over.wait(30)

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 -- http.server's
        """Say nothing."""


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """`serve("text", …)`: the address of a server that answers so."""
    for name in ("HELLO_WITHIN_S", "LATE_AFTER_S"):
        monkeypatch.setattr(outside_stream, name, 0.4)
    front = Front(("127.0.0.1", 0), Handler)
    front.over = threading.Event()
    thread = threading.Thread(target=front.serve_forever, args=(0.01,))
    thread.start()

    def start(text: str, status: int = 200, kind: str = STREAM, *, ends: bool = False) -> str:
        front.text, front.status, front.kind, front.ends = text, status, kind, ends
        return f"http://127.0.0.1:{front.server_port}/beacon"

    yield start
    front.over.set()
    front.shutdown()
    thread.join()
    front.server_close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((HELLO,), "a heartbeat that was due after 0 s had not come"),
        ((HELLO + BEAT,), "the proxy holds it back"),
        (("",), "buffers it: hello did not come within"),
        (("<h1>Log in</h1>", 200, HTML), "something other than Beacon answers it (200, text/html)"),
        (("<h1>Bad</h1>", 502, HTML), "something other than Beacon answers it (502, text/html)"),
        (('"nothing here"', 404, "application/json"), "something other than Beacon answers it (404, application/json)"),
        (('{"message": "no route"}', 404, "application/json"), "something other than Beacon answers it (404"),
        ((REFUSED, 403, PROBLEM), "Beacon refuses it (403): This token has no scope stream."),
        ((FLAG_OFF, 403, PROBLEM), "raise the rollout"),
        (("data: hi\n\n",), "begins with '' instead of hello"),
    ],
)
def test_what_is_wrong_with_a_stream_is_named(serve: Serve, answer: tuple[str, int, str], words: str) -> None:
    text, *more = answer
    found = outside_stream.check_stream(serve(text, *more, ends=len(more) > 0), "bcn_x", 0)
    assert (found.ok, words in found.text) == (False, True), found.text


def test_a_stream_that_ends_without_a_goodbye_was_cut_and_one_with_a_goodbye_was_not(serve: Serve) -> None:
    found = outside_stream.check_stream(serve(HELLO + BEAT, ends=True), "bcn_x", 0)
    assert (found.ok, "was cut after 0 s without a goodbye" in found.text) == (False, True), found.text
    bye = 'event: bye\ndata: {"reason": "drain"}\n\n'
    assert outside_stream.check_stream(serve(HELLO + BEAT + bye, ends=True), "bcn_x", 0).ok


def test_a_stream_with_heartbeats_is_fine_and_says_how_long_it_was_watched(serve: Serve) -> None:
    found = outside_stream.check_stream(serve(HELLO + BEAT + BEAT), "bcn_x", 0)
    assert found.ok
    assert "watched for 0 s" in found.text


def test_a_proxy_that_cannot_reach_beacon_is_named_and_nothing_else_is_tried(serve: Serve) -> None:
    (found,) = outside_check.check_from_outside(serve("<h1>502</h1>", 502, HTML, ends=True), "bcn_x", 0)
    assert (found.ok, "the proxy cannot reach Beacon" in found.text) == (False, True)


@pytest.mark.parametrize(
    ("landed", "base"),
    [
        ("https://ops.example/beacon/login", "https://ops.example/beacon"),
        ("https://ops.example:8443/beacon/login?next=/", "https://ops.example:8443/beacon"),
        ("http://ops.example/beacon/login", "http://ops.example/beacon"),
        ("https://sso.example/beacon/login", "http://ops.example/beacon"),
        ("https://ops.example/login", "http://ops.example/beacon"),
    ],
)
def test_https_is_checked_if_the_proxy_redirects_to_it_but_no_other_address(landed: str, base: str) -> None:
    """A form is not redirected, so each check of http would fail. The token is not sent to another host."""
    assert outside_check._find_base("http://ops.example/beacon", landed) == base


def test_the_token_comes_from_the_environment_or_standard_input_and_is_never_shown(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = '<link rel="stylesheet" href="/beacon/static/b/css/all.css"><input name="csrf_token" value="t">'
    url = serve(page, kind=HTML, ends=True)
    monkeypatch.setenv("BEACON_DOCTOR_TOKEN", "bcn_environment\n")
    doctor = ["doctor", "--outside-only", "--url", url]
    for arguments, typed, token in (
        (doctor, "", "bcn_environment"),
        ([*doctor, "--token-stdin"], "bcn_typed\n", "bcn_typed"),
    ):
        Handler.tokens.clear()
        said = CliRunner().invoke(main.cli, arguments, input=typed).output
        assert f"Bearer {token}" in Handler.tokens
        assert "FAIL stream: something other than Beacon answers it (200, text/html)" in said
        assert "bcn_" not in said

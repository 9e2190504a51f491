"""A job service by hand: a real HTTP server whose answers a test writes itself."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.machine import scaled

Answer = Callable[[BaseHTTPRequestHandler], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients that cut the connection are what these tests are about."""


class Upstream:
    """Answers each path as `answers` says; a path that is not there gets 404. Remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.released = threading.Event()  # ends handlers that wait
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def json(self, path: str, body: object, status: int = 200) -> None:
        self.answers[path] = lambda request: send(request, json.dumps(body).encode(), status)

    def raw(self, path: str, body: bytes, status: int = 200, **headers: str) -> None:
        self.answers[path] = lambda request: send(request, body, status, **headers)

    def hold(self) -> None:
        """Say nothing until the test is over."""
        self.released.wait(scaled(30))

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(scaled(5))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                upstream.asked.append(self.path)
                answer = upstream.answers.get(urlsplit(self.path).path)
                try:
                    (answer or _not_found)(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_POST = do_DELETE = do_GET  # noqa: N815 -- the names that the base class asks for

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        return Handler


@contextmanager
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    try:
        yield made
    finally:
        made.close()


def send(request: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    request.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)


def query(request: BaseHTTPRequestHandler) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(request.path).query).items()}


def _not_found(request: BaseHTTPRequestHandler) -> None:
    send(request, b'{"error": "not here"}', 404)

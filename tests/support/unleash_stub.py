"""An HTTP server in Unleash's place: it gives the answers of a test, sane or not."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


class Edge:
    """Gives `answers` one after the other, the last one again and again. `seen`: the headers of each question;
    `asked`: its method and path."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.seen: list[dict[str, str]] = []
        self.asked: list[str] = []
        edge = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                edge.asked.append(f"{self.command} {self.path}")
                edge.seen.append(dict(self.headers.items()))
                (edge.answers.pop(0) if len(edge.answers) > 1 else edge.answers[0])(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self.do_GET()

            def do_PATCH(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class OneFlag:
    """An Unleash with one flag, in memory: both of its APIs, as far as Beacon asks them. `refuses`: the token of its
    workers is revoked."""

    def __init__(self, edge: Edge, name: str, percentage: str = "100") -> None:
        self.name, self.percentage, self.enabled = name, percentage, True
        self.revision, self.refuses = 1, False
        self.more: dict[str, Any] = {}
        self.url = edge.url
        edge.answers = [self._answer]

    def moves(self, percentage: str | None = None, *, enabled: bool | None = None) -> None:
        self.percentage = self.percentage if percentage is None else percentage
        self.enabled = self.enabled if enabled is None else enabled
        self.revision += 1

    @property
    def text(self) -> str:
        feature = {"name": self.name, "enabled": self.enabled, "project": "default", "strategies": [self._strategy]}
        return json.dumps({"version": 2, "features": [feature | self.more], "meta": {"revisionId": self.revision}})

    @property
    def _strategy(self) -> dict[str, Any]:
        parameters = {"rollout": self.percentage, "stickiness": "userId", "groupId": self.name}
        return {"id": "one", "name": "flexibleRollout", "parameters": parameters, "constraints": []}

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path.startswith("/api/client"):
            (says(401) if self.refuses else says(200, self.text))(handler)
        elif handler.command == "POST":
            self.moves(enabled=handler.path.endswith("/on"))
            says(200)(handler)
        elif "/events/" in handler.path:
            says(200, '{"events": []}')(handler)
        else:
            says(200, json.dumps({"enabled": self.enabled, "strategies": [self._strategy]}))(handler)


def says(status: int, body: str = "", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body.encode())

    return answer


def trickles(size: int) -> Answer:
    """Pieces of so many bytes: never silent for long, and never at an end."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        _drip(handler, b" " * size)

    return answer


def trickles_headers(handler: BaseHTTPRequestHandler) -> None:
    """Not even the headers come to an end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    _drip(handler, b"x")


def _drip(handler: BaseHTTPRequestHandler, piece: bytes) -> None:
    try:
        while True:
            handler.wfile.write(piece)
            time.sleep(0.01)
    except OSError:
        pass

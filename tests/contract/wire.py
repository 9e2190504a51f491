"""HTTP over raw sockets, so that a case sees the very bytes. Knows nothing of the server but its address."""

import json as json_module
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 10.0

Headers = Mapping[str, str]


class Unanswered(AssertionError):
    """Nothing came within the bound."""


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment: where it listens, and the path below which it lives."""

    host: str
    port: int
    tls: bool
    below: str

    @classmethod
    def parse(cls, url: str) -> "Target":
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address like http://beacon.example:8000")
        tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, parts.path.rstrip("/"))

    @property
    def name(self) -> str:
        """As the Host header says it."""
        is_default = self.port == (443 if self.tls else 80)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if is_default else f"{host}:{self.port}"


class Connection:
    """One socket; `receive` answers b"" once the other side has closed it."""

    def __init__(self, target: Target) -> None:
        self._socket = socket.create_connection((target.host, target.port), timeout=PATIENCE_S)
        if target.tls:
            self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=target.host)

    def send(self, data: bytes) -> None:
        self._socket.settimeout(PATIENCE_S)
        self._socket.sendall(data)

    def receive(self, deadline: float) -> bytes:
        """What has come, at least one byte; raises `TimeoutError` at the deadline (monotonic seconds)."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        try:
            return self._socket.recv(65536)
        except ConnectionError:
            return b""

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Head:
    """The status line and headers of an answer, and their bytes."""

    raw: bytes
    status: int
    headers: list[tuple[str, str]]

    @classmethod
    def parse(cls, raw: bytes) -> "Head":
        first, *lines = raw.decode("latin-1").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.[01] (\d{3})( .*)?", first)
        assert found, f"no status line: {first!r}"
        headers = []
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon, f"no header: {line!r}"
            headers.append((name.lower(), value.strip()))
        return cls(raw, int(found[1]), headers)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str | None:
        found = self.all(name)
        return ", ".join(found) if found else None

    @property
    def is_chunked(self) -> bool:
        return (self.get("Transfer-Encoding") or "").lower() == "chunked"

    @property
    def length(self) -> int | None:
        text = self.get("Content-Length")
        return int(text) if text is not None else None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        return self.head.status

    def header(self, name: str) -> str | None:
        return self.head.get(name)

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json_module.loads(self.body)


class Dechunker:
    """Takes the chunks of a body apart, however they arrive, and gives what they carry as soon as it is there."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        """Of every chunk that has begun; 0 is the last one's."""
        self.ended = False
        self._waiting = b""
        self._left: int | None = None  # of the chunk that has begun; 0 while its line end is missing

    def feed(self, data: bytes) -> bytes:
        self._waiting += data
        carried = b""
        while not self.ended and (part := self._next()) is not None:
            carried += part
        return carried

    @property
    def rest(self) -> bytes:
        """What came behind the last chunk."""
        return self._waiting if self.ended else b""

    def _next(self) -> bytes | None:
        if self._left is None:
            return self._begin()
        if self._left:
            part, self._waiting = self._waiting[: self._left], self._waiting[self._left :]
            self._left -= len(part)
            return part or None
        return self._finish()

    def _begin(self) -> bytes | None:
        line, newline, rest = self._waiting.partition(b"\r\n")
        if not newline:
            return None
        self._left, self._waiting = int(line.split(b";")[0], 16), rest
        self.sizes.append(self._left)
        return b""

    def _finish(self) -> bytes | None:
        if len(self._waiting) < 2:
            return None
        assert self._waiting.startswith(b"\r\n"), "a chunk does not end where it says"
        self._waiting, self._left = self._waiting[2:], None
        self.ended = self.sizes[-1] == 0
        return b""


def request_bytes(
    target: Target, method: str, path: str, headers: Headers | None = None, body: bytes = b"", version: str = "1.1"
) -> bytes:
    """A request as it goes over the wire. `path` is taken as it is: quoting is the case's business."""
    lines = [f"{method} {target.below}{path} HTTP/{version}", f"Host: {target.name}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body and not any(name.lower() == "transfer-encoding" for name in headers or {}):
        lines.append(f"Content-Length: {len(body)}")
    elif method in ("POST", "PUT", "PATCH"):
        lines.append("Content-Length: 0")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def read_head(connection: Connection, deadline: float, what: str) -> tuple[Head, bytes]:
    """The head of the next answer, and what came of its body with it."""
    waiting = b""
    while b"\r\n\r\n" not in waiting:
        try:
            data = connection.receive(deadline)
        except TimeoutError:
            raise Unanswered(f"no answer to {what}: {waiting!r}") from None
        if not data:
            raise Unanswered(f"closed without an answer to {what}: {waiting!r}")
        waiting += data
    raw, _, rest = waiting.partition(b"\r\n\r\n")
    return Head.parse(raw), rest


def read_answer(connection: Connection, method: str, what: str, within_s: float = PATIENCE_S) -> Answer:
    deadline = time.monotonic() + within_s
    head, body = read_head(connection, deadline, what)
    return Answer(head, read_body(connection, method, head, body, deadline))


def read_body(connection: Connection, method: str, head: Head, first: bytes, deadline: float) -> bytes:
    if method == "HEAD" or head.status in (204, 304):
        return b""
    dechunker = Dechunker() if head.is_chunked else None
    body = dechunker.feed(first) if dechunker else first
    while not (dechunker.ended if dechunker else head.length is not None and len(body) >= head.length):
        try:
            data = connection.receive(deadline)
        except TimeoutError:
            raise Unanswered(f"the body never ended: {len(body)} bytes, {body[-200:]!r}") from None
        if not data:
            assert dechunker is None, "the connection closed before the last chunk"
            assert head.length is None, "the connection closed inside a body"
            break
        body += dechunker.feed(data) if dechunker else data
    return body


def ask(
    target: Target,
    method: str,
    path: str,
    headers: Headers | None = None,
    *,
    body: bytes = b"",
    json: Any = None,
    within_s: float = PATIENCE_S,
) -> Answer:
    """One request on a connection of its own, and the whole answer."""
    sent = {"Accept": "application/json", "Connection": "close", **(headers or {})}
    if json is not None:
        body = json_module.dumps(json).encode()
        sent = {"Content-Type": "application/json", **sent}
    connection = Connection(target)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # a refusal may come before the body is through
            connection.send(request_bytes(target, method, path, sent, body))
        return read_answer(connection, method, f"{method} {path}", within_s)
    finally:
        connection.close()

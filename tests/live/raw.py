"""A connection seen byte by byte, and what a stream's bytes must look like."""

import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.accounts import users
from app.db import write
from tests.contract.wire import Dechunker
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled
from tests.support.sse_client import Frame, parse

FRAME = re.compile(rb"(?:retry: \d+\n)?(?:id: \d+\n)?event: [a-z._]+\ndata: \{[^\n]*\}\n\n")


@dataclass(frozen=True, slots=True)
class Credential:
    """A token of its own, so that its revocation ends one test's stream from the server."""

    beacon: Beacon
    id: int
    text: str

    @classmethod
    def of(cls, beacon: Beacon, user: str = "alice") -> "Credential":
        with beacon.app.app_context(), write() as session:
            row, text = users.add_token(session, user, ["stream", "read"], None, "test")
            return cls(beacon, row.id, text)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.text}"}

    def revoke(self) -> None:
        with self.beacon.app.app_context(), write() as session:
            users.revoke_token(session, self.id, "test")

    def request(self, path: str, *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
        head = [f"{method} {path} HTTP/{version}", "Host: 127.0.0.1", f"Authorization: Bearer {self.text}", *lines]
        return "\r\n".join(head).encode() + b"\r\n\r\n"


class Raw:
    """A connection that says what it is told to say, and keeps every byte that comes."""

    def __init__(self, beacon: Beacon, context: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection(("127.0.0.1", beacon.port), timeout=scaled(10))
        self._socket = context.wrap_socket(plain, server_hostname="127.0.0.1") if context else plain
        self.received = b""
        self.is_over = False

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def until(self, wanted: bytes, within_s: float = 10.0) -> None:
        """Read until these bytes have come."""
        self._read(lambda: wanted in self.received, f"{wanted!r}", within_s)

    def to_the_end(self, within_s: float = 10.0) -> None:
        """Read until the other side has closed."""
        self._read(lambda: self.is_over, "the end of the connection", within_s)

    def for_a_while(self, seconds: float) -> None:
        """Whatever still comes."""
        ends = time.monotonic() + seconds
        while not self.is_over and time.monotonic() < ends:
            self._receive(0.05)

    def close(self) -> None:
        self._socket.close()

    @property
    def head(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        """The bytes behind the head, chunks and all."""
        return self.received.partition(b"\r\n\r\n")[2]

    @property
    def is_chunked(self) -> bool:
        return b"\r\ntransfer-encoding: chunked" in self.head.lower()

    def stream(self) -> bytes:
        """What the body carries. A stream in chunks must have ended with the last one, and nothing behind it."""
        if not self.is_chunked:
            return self.body
        carried, rest = dechunked(self.body)
        assert rest == b"", f"behind the last chunk: {rest[:300]!r}"
        return carried

    def _read(self, look: Callable[[], bool], what: str, within_s: float) -> None:
        deadline = time.monotonic() + scaled(within_s)
        while not look():
            assert not self.is_over, f"closed before {what}: {self.received[-500:]!r}"
            assert time.monotonic() < deadline, f"waited in vain for {what}: {self.received[-500:]!r}"
            self._receive(0.2)

    def _receive(self, timeout_s: float) -> None:
        self._socket.settimeout(timeout_s)
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return
        except (ConnectionError, ssl.SSLEOFError):
            data = b""
        self.received += data
        self.is_over = not data


def frames_only(body: bytes) -> list[Frame]:
    """The body is whole frames of the stream's own form and nothing else, to the byte."""
    rest = FRAME.sub(b"", body)
    assert rest == b"", f"not a frame: {rest[:300]!r}"
    return parse(body)


def publish_and_see(beacon: Beacon, raw: Raw) -> int:
    (event_id,) = beacon.publish([{"type": "wire.check", "data": {"text": "HTTP/1.1 200 OK"}}])
    raw.until(b"id: %d\n" % event_id)
    raw.until(b"\n\n")
    return event_id


def dechunked(body: bytes) -> tuple[bytes, bytes]:
    """What chunks carry, and what follows the last of them, which must have come."""
    dechunker = Dechunker()
    carried = dechunker.feed(body)
    assert dechunker.ended, f"the last chunk is missing: {body[-100:]!r}"
    return carried, dechunker.rest

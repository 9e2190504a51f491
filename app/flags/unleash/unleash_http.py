"""One question to Unleash whose answer ends in time and has an end, whatever comes in between."""

import math
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import BaseHTTPResponse

from app.infra import json_limits
from app.infra.concurrency import TimeSlice
from app.infra.deadlines import Deadline

PIECE = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str
    etag: str

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Raises ValueError."""
        return json_limits.loads(self.text.encode())


@dataclass(frozen=True, slots=True)
class Patience:
    """`pause_s`: to connect, and between two pieces; `whole_s`: from the question to the end of the answer."""

    pause_s: float
    whole_s: float
    max_bytes: int


class TooLong(requests.RequestException):
    """The answer was given up at so many bytes."""


class TooLate(Exception):
    """The question was not asked: `not_after` had passed before its first byte could leave."""


def session() -> requests.Session:
    """For `ask`. The environment's proxies and credentials are not meant for Unleash."""
    made = requests.Session()
    made.trust_env = False
    made.mount("http://", _Adapter())
    made.mount("https://", _Adapter())
    return made


def ask(
    session: requests.Session,
    method: str,
    url: str,
    headers: Mapping[str, str],
    patience: Patience,
    body: Any = None,
    not_after: float = math.inf,
) -> Answer:
    """Raises `requests.RequestException`: `Timeout` and `ConnectionError` as requests does, or `TooLong`; and `TooLate`
    where not a byte of it has left by `not_after` (of `time.monotonic`)."""
    # Of something compressed many pieces may come that give nothing yet, and each costs time.
    plain = {**headers, "Accept-Encoding": "identity"}
    with Deadline(patience.whole_s) as deadline, _asking.within(deadline, not_after):
        try:
            response = session.request(
                method, url, json=body, headers=plain, timeout=patience.pause_s, stream=True, allow_redirects=False
            )
            with closing(response):
                found = _read(response.raw, patience.max_bytes)
        except requests.ConnectionError as error:
            if deadline.passed:
                raise requests.Timeout from error
            raise
        if deadline.passed:  # the cut itself looks like the end of an answer without a length
            raise requests.Timeout
        return Answer(response.status_code, found.decode("utf-8", "replace"), response.headers.get("ETag", ""))


def _read(raw: BaseHTTPResponse, max_bytes: int) -> bytes:
    """Takes what is there: `iter_content` would wait until a whole piece has come, however slowly."""
    found, pace = bytearray(), TimeSlice()
    try:
        while piece := raw.read1(PIECE, decode_content=True):
            found += piece
            if len(found) > max_bytes:
                raise TooLong(f"its answer is longer than {max_bytes} bytes")
            pace()
    except exceptions.TimeoutError as error:
        raise requests.Timeout from error
    except exceptions.HTTPError as error:
        raise requests.ConnectionError(str(error)) from error
    return bytes(found)


class _Asking(threading.local):
    """What this thread (or greenlet) is asking: connections are made deep inside the library."""

    deadline: Deadline | None = None
    not_after = math.inf
    is_sent = False

    @contextmanager
    def within(self, deadline: Deadline, not_after: float) -> Iterator[None]:
        self.deadline, self.not_after, self.is_sent = deadline, not_after, False
        try:
            yield
        finally:
            self.deadline = None

    def leaves(self) -> None:
        """Just before the first byte: a name may have been looked up for long, the process may have been frozen."""
        now = time.monotonic()
        if not self.is_sent and now > self.not_after:
            raise TooLate
        if not self.is_sent and self.deadline is not None and now >= self.deadline.at:
            self.deadline.cut()
            raise TimeoutError
        self.is_sent = True


_asking = _Asking()


class _Reached:
    """A connection that the deadline reaches: its headers and its handshake may trickle too."""

    sock: socket.socket | None

    def _new_conn(self) -> socket.socket:
        connected = cast(socket.socket, super()._new_conn())  # type: ignore[misc] # the connection's own
        if _asking.deadline is not None:
            _asking.deadline.watch_twin(connected)
        return connected

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined] # as above
        _asking.leaves()
        super().send(data)  # type: ignore[misc] # as above

    def getresponse(self) -> urllib3.response.HTTPResponse:
        if _asking.deadline is not None:
            _asking.deadline.watch(self.sock)
        return cast(urllib3.response.HTTPResponse, super().getresponse())  # type: ignore[misc] # as above


class _Connection(_Reached, HTTPConnection):  # type: ignore[misc] # urllib3's own types
    pass


class _SecureConnection(_Reached, HTTPSConnection):  # type: ignore[misc] # urllib3's own types
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, **more)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

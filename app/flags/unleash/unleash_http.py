"""HTTP requests to Unleash with a deadline for the whole response and a size limit."""

import math
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3 import exceptions
from urllib3.response import BaseHTTPResponse

from app.infra import json_limits
from app.infra.concurrency import TimeSlice
from app.infra.deadline_connections import PlainConnection, TlsConnection, current_request
from app.infra.deadlines import Deadline

READ_SIZE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class UnleashResponse:
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
class Timeouts:
    """`pause_s`: to connect, and between two chunks; `whole_s`: for the whole request and response."""

    pause_s: float
    whole_s: float
    max_bytes: int


class ResponseTooLarge(requests.RequestException):
    """The response exceeds the size limit."""


class SendDeadlinePassed(Exception):
    """The request was not sent: `not_after` passed before its first byte left."""


def create_session() -> requests.Session:
    """A session for `send_request`. Ignores the environment's proxies and credentials: they are not for Unleash."""
    made = requests.Session()
    made.trust_env = False
    made.mount("http://", _Adapter())
    made.mount("https://", _Adapter())
    return made


def send_request(
    session: requests.Session,
    method: str,
    url: str,
    headers: Mapping[str, str],
    timeouts: Timeouts,
    body: Any = None,
    not_after: float = math.inf,
) -> UnleashResponse:
    """Raises `requests.RequestException`: `Timeout` and `ConnectionError` as requests does, or `ResponseTooLarge`; and
    `SendDeadlinePassed` if no byte has left by `not_after` (a `time.monotonic` value)."""
    # Uncompressed: many compressed chunks may arrive before any of them yields data, and each costs time.
    plain = {**headers, "Accept-Encoding": "identity"}

    def check() -> None:
        if time.monotonic() > not_after:
            raise SendDeadlinePassed

    with Deadline(timeouts.whole_s) as deadline, current_request.track(deadline, check):
        try:
            response = session.request(
                method, url, json=body, headers=plain, timeout=timeouts.pause_s, stream=True, allow_redirects=False
            )
            with closing(response):
                found = _read_body(response.raw, timeouts.max_bytes)
        except requests.ConnectionError as error:
            if deadline.passed:
                raise requests.Timeout from error
            raise
        if deadline.passed:  # a connection closed by the deadline looks like the end of a response without a length
            raise requests.Timeout
        return UnleashResponse(response.status_code, found.decode("utf-8", "replace"), response.headers.get("ETag", ""))


def _read_body(raw: BaseHTTPResponse, max_bytes: int) -> bytes:
    """Read what is available: `iter_content` would wait for a full chunk, however slowly it arrives."""
    found, pace = bytearray(), TimeSlice()
    try:
        while piece := raw.read1(READ_SIZE_BYTES, decode_content=True):
            found += piece
            if len(found) > max_bytes:
                raise ResponseTooLarge(f"its response is larger than {max_bytes} bytes")
            pace()
    except exceptions.TimeoutError as error:
        raise requests.Timeout from error
    except exceptions.HTTPError as error:
        raise requests.ConnectionError(str(error)) from error
    return bytes(found)


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = PlainConnection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = TlsConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, **more)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}

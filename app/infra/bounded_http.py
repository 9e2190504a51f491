"""HTTP requests with a deadline for the whole of them and a size limit for the response, over urllib3.

The library's time-outs apply to each wait for a byte, so a server that sends one byte a second could hold a request
forever. Therefore the deadline shuts down the connection's socket.
"""

import contextlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError

from app.infra import json_limits
from app.infra.concurrency import TimeSlice
from app.infra.deadline_connections import PlainConnection, TlsConnection, current_request
from app.infra.deadlines import Deadline

_CHUNK_BYTES = 64 * 1024
# Uncompressed: many compressed chunks may arrive before any of them yields data, and each costs time.
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "beacon"}


class RequestFailed(Exception):
    """There is no usable response. The request may have been executed."""


class TimedOut(RequestFailed):
    """The response did not arrive in time."""


class ConnectionFailed(RequestFailed):
    """The connection could not be opened, or was closed before the response was complete."""


class ResponseTooLarge(RequestFailed):
    """The response exceeds the size limit."""


class SendDeadlinePassed(Exception):
    """The request was not sent: `not_after` passed before its first byte left."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """`pause_s`: to connect, and between two chunks; `whole_s`: for the whole request and response."""

    pause_s: float
    whole_s: float
    max_bytes: int


@dataclass(frozen=True, slots=True)
class HttpResponse:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Raises `ValueError`."""
        return json_limits.loads(self.body)


def open_connections() -> urllib3.PoolManager:
    """Connections for `send_request`. Proxies of the environment are ignored."""
    pools = urllib3.PoolManager(ca_certs=DEFAULT_CA_BUNDLE_PATH)
    pools.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
    return pools


def send_request(
    pools: urllib3.PoolManager,
    method: str,
    url: str,
    headers: Mapping[str, str],
    limits: RequestLimits,
    body: object = None,
    not_after: float = math.inf,
) -> HttpResponse:
    """Send a request once, with `body` as JSON (bytes are JSON already), without following redirects.

    Raises `RequestFailed`, `SendDeadlinePassed` if no byte has left by `not_after` (a `time.monotonic` value), and
    `ValueError` for a header that cannot be sent.
    """
    if any(value != value.strip() or not value.isprintable() for value in headers.values()):
        raise ValueError("a header contains characters that cannot be sent")  # http.client would send some of them
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    content_type = {} if body is None else {"Content-Type": "application/json"}

    def check_deadline() -> None:
        if time.monotonic() > not_after:
            raise SendDeadlinePassed

    with Deadline(limits.whole_s) as deadline, current_request.track(deadline, check_deadline):
        try:
            response = pools.urlopen(
                method,
                url,
                body=data,
                headers={**_HEADERS, **content_type, **headers},
                timeout=limits.pause_s,
                retries=False,
                redirect=False,
                preload_content=False,
            )
            with contextlib.closing(response):
                found = HttpResponse(response.status, response.headers, _read_body(response, limits.max_bytes))
        except LocationValueError:
            raise
        except (HTTPError, OSError) as error:
            is_late = isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError) and not isinstance(
                error, NewConnectionError
            )
            raise (TimedOut if is_late or deadline.passed else ConnectionFailed)(type(error).__name__) from error
        if deadline.passed:  # a connection closed by the deadline looks like the end of a response without a length
            raise TimedOut
        return found


def _read_body(response: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
    """Read what is available: `read` would wait for a full chunk, however slowly it arrives."""
    found, pace = bytearray(), TimeSlice()
    while chunk := response.read1(_CHUNK_BYTES):
        found += chunk
        if len(found) > max_bytes:
            raise ResponseTooLarge(f"its response is larger than {max_bytes} bytes")
        pace()
    return bytes(found)


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = PlainConnection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = TlsConnection

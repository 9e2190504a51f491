"""An HTTP client for JSON with a deadline for the whole request, whatever the server does.

The library's time-outs apply to each wait for a byte, so a server that sends one byte a second in the headers or the
body could hold a request forever. Therefore the deadline shuts down the connection's socket. urllib3 is used without
`requests`, whose overhead exceeds the cost of the request itself; a poll makes several.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)

from app.infra import json_limits
from app.infra.concurrency import TimeSlice
from app.infra.deadline_connections import current_request
from app.infra.deadlines import Deadline
from app.infra.json_limits import JsonTooLarge
from app.sources.host_rules import Reach
from app.sources.http_connections import Pool, SecurePool
from app.sources.protocol import NotSent, OutcomeUnknown, SourceError

CONNECT_S = 2.0
ANSWER_S = 5.0
MAX_BYTES = 8 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "beacon"}
_OK_STATUSES = frozenset({200})
DEFAULT_REACH = Reach()
NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class JsonResponse:
    status: int
    json: Any


class HttpClient:
    """Sends requests below one base URL over a kept connection. For one thread at a time."""

    def __init__(
        self,
        base_url: str,
        answer_s: float = ANSWER_S,
        max_bytes: int = MAX_BYTES,
        *,
        token: str | None = None,
        reach: Reach = DEFAULT_REACH,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._answer_s, self._max_bytes = answer_s, max_bytes
        self._headers = _HEADERS if token is None else {**_HEADERS, "Authorization": f"Bearer {token}"}
        self._reach = reach
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._prefix = ""

    def get(self, path: str, *, expect: frozenset[int] = _OK_STATUSES) -> JsonResponse:
        """Return the JSON at `path`. An unexpected status or anything but JSON raises `SourceError`."""
        status, body = self._exchange("GET", path, self._answer_s, expect=expect)
        return JsonResponse(status, parse_json(body))

    def fetch(
        self, path: str, params: Mapping[str, str | int] | None = None, *, within_s: float | None = None
    ) -> bytes:
        """Return the bytes at `path`. Any status but 200 raises `SourceError`."""
        seconds = self._answer_s if within_s is None else min(self._answer_s, within_s)
        target = path + (f"?{urlencode(params)}" if params else "")
        return self._exchange("GET", target, seconds, expect=_OK_STATUSES)[1]

    def send(
        self,
        method: str,
        path: str,
        seconds: float,
        *,
        key: str,
        body: object = None,
        begin_s: float = CONNECT_S,
        not_after: datetime | None = None,
    ) -> JsonResponse:
        """Send a request that changes something, once. Connects within `begin_s`, sends nothing after `not_after`.

        Returns the response whatever its status is; its `json` is None if the body is not JSON.

        Raises `NotSent` if not a single byte was sent, `OutcomeUnknown` if the request may have been executed.
        """
        headers = {"Idempotency-Key": key}
        data = None
        if body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body).encode()
        try:
            status, answer = self._exchange(
                method, path, seconds, begin_s=begin_s, not_after=not_after, headers=headers, body=data
            )
        except SourceError as error:
            raise (OutcomeUnknown if current_request.is_sent else NotSent)(error.reason) from error
        try:
            return JsonResponse(status, parse_json(answer))
        except SourceError:
            return JsonResponse(status, None)

    def close(self) -> None:
        """Close the connection. The next request opens a new one."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _exchange(
        self,
        method: str,
        target: str,
        seconds: float,
        *,
        expect: frozenset[int] | None = None,
        begin_s: float = CONNECT_S,
        not_after: datetime | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        body: bytes | None = None,
    ) -> tuple[int, bytes]:
        deadline = Deadline(seconds)

        def check() -> None:
            if not_after is not None and datetime.now(UTC) >= not_after:
                raise NotSent("was not contacted: the deadline had passed")

        with deadline, current_request.track(deadline, check), _translating_errors(deadline, seconds):
            pool = self._pool = self._pool or self._make_pool()
            response = pool.urlopen(
                method,
                self._prefix + target,
                body=body,
                headers={**self._headers, **headers},
                timeout=urllib3.Timeout(connect=min(CONNECT_S, begin_s, seconds), read=seconds),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            with contextlib.closing(response):
                if expect is not None:
                    _check_status(response.status, expect)
                return response.status, self._read_body(response, deadline)

    def _make_pool(self) -> urllib3.HTTPConnectionPool:
        """Create the pool of one kept connection, which the first request opens. The deadline can reach its socket."""
        parts = urllib3.util.parse_url(self._base)
        self._prefix = parts.path or ""
        if parts.host is None or parts.scheme not in ("http", "https"):
            raise LocationValueError(self._base)
        # Without an explicit port the library would search for one in the colons of an IPv6 address.
        port = parts.port or (80 if parts.scheme == "http" else 443)
        if parts.scheme == "http":
            return Pool(parts.host, port, maxsize=1, reach=self._reach)
        return SecurePool(parts.host, port, maxsize=1, ca_certs=DEFAULT_CA_BUNDLE_PATH, reach=self._reach)

    def _read_body(self, response: urllib3.BaseHTTPResponse, deadline: Deadline) -> bytes:
        declared = response.headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared[:20]) > self._max_bytes:
            raise SourceError(self._too_large())
        body, pace = bytearray(), TimeSlice()  # reading never yields if bytes are always available
        # read1 returns what has arrived; read would wait for a full chunk, however slowly it comes in
        while chunk := response.read1(_CHUNK_BYTES, decode_content=False):
            body += chunk
            if len(body) > self._max_bytes:
                raise SourceError(self._too_large())
            pace()
        if deadline.passed:  # the socket shutdown looks like the end of a response without a length
            raise TimeoutError
        return bytes(body)

    def _too_large(self) -> str:
        return f"answered with more than {self._max_bytes // (1024 * 1024)} MiB"


def parse_json(body: bytes) -> Any:
    try:
        return json_limits.loads(body)
    except JsonTooLarge as error:
        reason = f"answered with {error}"
    except ValueError:
        reason = "answered something that is not JSON"
    raise SourceError(reason)  # outside the except block: the parser's error contains the whole response


def _check_status(status: int, expect: frozenset[int]) -> None:
    if status in expect:
        return
    if 300 <= status < 400:
        raise SourceError(f"answered {status}, a redirect, which Beacon does not follow")
    raise SourceError(f"answered {status}")


@contextlib.contextmanager
def _translating_errors(deadline: Deadline, seconds: float) -> Iterator[None]:
    """Turn any error of the request into a `SourceError` with text for pages."""
    late = f"did not answer within {seconds:g} s"
    try:
        yield
    except SourceError:
        raise
    except NewConnectionError as error:  # before its base class, which is a time-out
        raise SourceError(late if deadline.passed else _describe_error(error)) from error
    except ConnectTimeoutError as error:
        raise SourceError(f"did not accept a connection within {min(CONNECT_S, seconds):g} s") from error
    except (TimeoutError, urllib3.exceptions.TimeoutError) as error:
        raise SourceError(late) from error
    except (HTTPError, OSError, ValueError) as error:
        raise SourceError(late if deadline.passed else _describe_error(error)) from error


def _describe_error(error: BaseException) -> str:
    if isinstance(error, SSLError):
        return "has a certificate that cannot be trusted"
    if isinstance(error, NameResolutionError):
        return "has an address whose name cannot be resolved"
    if "Connection refused" in str(error):
        return "refused the connection"
    if isinstance(error, LocationValueError):
        return "has an address that cannot be used"
    return "closed the connection before its answer was complete"

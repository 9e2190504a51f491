"""One bounded HTTP request for JSON: nothing that an upstream does can hold a poll for longer than its deadline.

The library's time-outs count each wait for a byte, so a server that sends one byte a second beats them for
ever, in the headers as well as in the body. Hence the deadline shuts the connection's socket down. urllib3 is used
without what `requests` puts around it: that costs more than the request, and a poll is several of them.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
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
from app.infra.deadlines import Deadline
from app.infra.json_limits import JsonTooLarge
from app.sources.host_rules import Reach
from app.sources.http_connections import Pool, SecurePool, current
from app.sources.protocol import NotSent, SourceError, Unsure

CONNECT_S = 2.0
ANSWER_S = 5.0
MAX_BYTES = 8 * 1024 * 1024
_CHUNK = 64 * 1024
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "beacon"}
_OK = frozenset({200})
ANYWHERE_USUAL = Reach()
NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    json: Any


@dataclass(frozen=True, slots=True)
class Body:
    """An answer that nobody has looked into yet."""

    status: int
    bytes: bytes


class HttpClient:
    """Asks below one address, with a connection kept between questions. For one thread at a time."""

    def __init__(
        self,
        base_url: str,
        answer_s: float = ANSWER_S,
        max_bytes: int = MAX_BYTES,
        *,
        token: str | None = None,
        reach: Reach = ANYWHERE_USUAL,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._answer_s, self._max_bytes = answer_s, max_bytes
        self._headers = _HEADERS if token is None else {**_HEADERS, "Authorization": f"Bearer {token}"}
        self._reach = reach
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._prefix = ""

    def get(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        expect: frozenset[int] = _OK,
        within_s: float | None = None,
    ) -> Answer:
        """The JSON at `path`. Another status than expected, or anything but JSON, raises `SourceError`."""
        body = self.fetch(path, params, expect=expect, within_s=within_s)
        return Answer(body.status, parsed(body.bytes))

    def fetch(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        expect: frozenset[int] = _OK,
        within_s: float | None = None,
    ) -> Body:
        """The bytes at `path`. Another status than expected raises `SourceError`."""
        seconds = self._answer_s if within_s is None else min(self._answer_s, within_s)
        target = path + (f"?{urlencode(params)}" if params else "")
        return self._exchange("GET", target, seconds, expect=expect)

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
    ) -> Answer:
        """A request that changes something, once: connected within `begin_s`, its first byte not after `not_after`.

        Whatever status the answer has, it is one; its `json` is None without any.

        Raises `NotSent` where not a byte of it left, `Unsure` where it may have been carried out.
        """
        headers = {"Idempotency-Key": key}
        data = None
        if body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body).encode()
        try:
            said = self._exchange(
                method, path, seconds, begin_s=begin_s, not_after=not_after, headers=headers, body=data
            )
        except SourceError as error:
            raise (Unsure if current.sent else NotSent)(error.reason) from error
        try:
            return Answer(said.status, parsed(said.bytes))
        except SourceError:
            return Answer(said.status, None)

    def close(self) -> None:
        """Another question opens a connection again."""
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
    ) -> Body:
        deadline = Deadline(seconds)
        with deadline, current.at(deadline, not_after), _in_words(deadline, seconds):
            pool = self._pool = self._pool or self._connected()
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
                return Body(response.status, self._body(response, deadline))

    def _connected(self) -> urllib3.HTTPConnectionPool:
        """One kept connection, whose socket the deadline can reach; it is opened by the first request."""
        parts = urllib3.util.parse_url(self._base)
        self._prefix = parts.path or ""
        if parts.host is None or parts.scheme not in ("http", "https"):
            raise LocationValueError(self._base)
        # Without a port the library would look for one in the colons of an IPv6 address.
        port = parts.port or (80 if parts.scheme == "http" else 443)
        if parts.scheme == "http":
            return Pool(parts.host, port, maxsize=1, reach=self._reach)
        return SecurePool(parts.host, port, maxsize=1, ca_certs=DEFAULT_CA_BUNDLE_PATH, reach=self._reach)

    def _body(self, response: urllib3.BaseHTTPResponse, deadline: Deadline) -> bytes:
        declared = response.headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared[:20]) > self._max_bytes:
            raise SourceError(self._too_large())
        body, pace = bytearray(), TimeSlice()  # where bytes are always there already, reading never waits
        # read1 gives what has come; read would wait for a full chunk however slowly it drips
        while chunk := response.read1(_CHUNK, decode_content=False):
            body += chunk
            if len(body) > self._max_bytes:
                raise SourceError(self._too_large())
            pace()
        if deadline.passed:  # the cut itself looks like the end of an answer without a length
            raise TimeoutError
        return bytes(body)

    def _too_large(self) -> str:
        return f"answered with more than {self._max_bytes // (1024 * 1024)} MiB"


def parsed(body: bytes) -> Any:
    try:
        return json_limits.loads(body)
    except JsonTooLarge as error:
        reason = f"answered with {error}"
    except ValueError:
        reason = "answered something that is not JSON"
    raise SourceError(reason)  # behind the parser's error, which holds the whole answer


def _check_status(status: int, expect: frozenset[int]) -> None:
    if status in expect:
        return
    if 300 <= status < 400:
        raise SourceError(f"answered {status}, a redirect, which Beacon does not follow")
    raise SourceError(f"answered {status}")


@contextlib.contextmanager
def _in_words(deadline: Deadline, seconds: float) -> Iterator[None]:
    """Whatever goes wrong on the way, as a sentence for the screen."""
    late = f"did not answer within {seconds:g} s"
    try:
        yield
    except SourceError:
        raise
    except NewConnectionError as error:  # before its base class, which is a time-out
        raise SourceError(late if deadline.passed else _why(error)) from error
    except ConnectTimeoutError as error:
        raise SourceError(f"did not take a connection within {min(CONNECT_S, seconds):g} s") from error
    except (TimeoutError, urllib3.exceptions.TimeoutError) as error:
        raise SourceError(late) from error
    except (HTTPError, OSError, ValueError) as error:
        raise SourceError(late if deadline.passed else _why(error)) from error


def _why(error: BaseException) -> str:
    if isinstance(error, SSLError):
        return "has a certificate that cannot be trusted"
    if isinstance(error, NameResolutionError):
        return "has an address whose name cannot be resolved"
    if "Connection refused" in str(error):
        return "refused the connection"
    if isinstance(error, LocationValueError):
        return "has an address that cannot be used"
    return "closed the connection before its answer was complete"

"""One bounded HTTP request for JSON: nothing that an upstream does can hold a poll for longer than its deadline.

The library's time-outs count each wait for a byte, so a server that sends one byte a second beats them for
ever, in the headers as well as in the body. Hence the deadline here shuts the connection's socket down.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from app.sources.base import NotSent, SourceError, Unsure

CONNECT_S = 2.0
ANSWER_S = 5.0
MAX_BYTES = 8 * 1024 * 1024
_CHUNK = 64 * 1024
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "beacon"}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    json: Any


class HttpClient:
    """Asks below one address, with connections kept between questions. For one thread at a time."""

    def __init__(
        self, base_url: str, answer_s: float = ANSWER_S, max_bytes: int = MAX_BYTES, *, token: str | None = None
    ) -> None:
        self._base = base_url.rstrip("/")
        self._answer_s, self._max_bytes = answer_s, max_bytes
        self._session = requests.Session()
        self._session.trust_env = False  # neither a proxy nor credentials from this machine's own files
        self._session.headers = requests.structures.CaseInsensitiveDict(_HEADERS)
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter())

    def get(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        expect: frozenset[int] = frozenset({200}),
        within_s: float | None = None,
    ) -> Answer:
        """The JSON at `path`. Another status than expected, or anything but JSON, raises `SourceError`."""
        seconds = self._answer_s if within_s is None else min(self._answer_s, within_s)
        status, body = self._ask("GET", path, seconds, expect=expect, params=params)
        return Answer(status, _parse(body))

    def send(
        self, method: str, path: str, seconds: float, *, key: str, json: object = None, begin_s: float = CONNECT_S
    ) -> Answer:
        """A request that changes something, once, begun within `begin_s`.

        Whatever status the answer has, it is one; its `json` is None without any.

        Raises `NotSent` where not a byte of it left, `Unsure` where it may have been carried out.
        """
        headers = {"Idempotency-Key": key}
        try:
            status, body = self._ask(method, path, seconds, expect=None, begin_s=begin_s, headers=headers, json=json)
        except SourceError as error:
            raise (Unsure if _current.sent else NotSent)(error.reason) from error
        try:
            return Answer(status, _parse(body))
        except SourceError:
            return Answer(status, None)

    def _ask(
        self,
        method: str,
        path: str,
        seconds: float,
        *,
        expect: frozenset[int] | None,
        begin_s: float = CONNECT_S,
        **what: Any,
    ) -> tuple[int, bytes]:
        deadline = _Deadline(seconds)
        with deadline, _in_words(deadline, seconds):
            response = self._session.request(
                method,
                self._base + path,
                timeout=(min(CONNECT_S, begin_s, seconds), seconds),
                allow_redirects=False,
                stream=True,
                **what,
            )
            with response:
                if expect is not None:
                    _check_status(response.status_code, expect)
                return response.status_code, self._body(response, deadline)

    def close(self) -> None:
        self._session.close()

    def _body(self, response: requests.Response, deadline: "_Deadline") -> bytes:
        declared = response.headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared[:20]) > self._max_bytes:
            raise SourceError(self._too_large())
        body = bytearray()
        # read1 gives what has come; read would wait for a full chunk however slowly it drips
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            body += chunk
            if len(body) > self._max_bytes:
                raise SourceError(self._too_large())
        if deadline.passed:  # the cut itself looks like the end of an answer without a length
            raise TimeoutError
        return bytes(body)

    def _too_large(self) -> str:
        return f"answered with more than {self._max_bytes // (1024 * 1024)} MiB"


class _Deadline:
    """Shuts the request's socket down when its time is over, whatever is being waited for just then."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False
        self.passed = False

    def watch(self, connected: socket.socket | None) -> None:
        self._socket = connected

    def __enter__(self) -> None:
        _current.deadline, _current.sent = self, False
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        # Once over, a kept connection may serve the next request: it must not be cut any more.
        with self._lock:
            self._over = True
        self._timer.cancel()
        _current.deadline = None

    def _cut(self) -> None:
        with self._lock:
            if self._over:
                return
            self.passed = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


class _Current(threading.local):
    deadline: _Deadline | None = None
    sent: bool = False  # whether anything of the newest request may have left


_current = _Current()


def _watch(connected: socket.socket | None) -> None:
    if _current.deadline is not None:
        _current.deadline.watch(connected)


class _Noted:
    """A connection whose socket the deadline reaches, and which notes its first byte."""

    sock: socket.socket | None

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined] # the connection's own
        _current.sent = True
        super().send(data)  # type: ignore[misc] # as above

    def getresponse(self) -> urllib3.response.HTTPResponse:
        _watch(self.sock)
        return cast(urllib3.response.HTTPResponse, super().getresponse())  # type: ignore[misc] # as above


class _Connection(_Noted, HTTPConnection):  # type: ignore[misc] # urllib3's own types
    pass


class _SecureConnection(_Noted, HTTPSConnection):  # type: ignore[misc] # urllib3's own types
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    """One kept connection, whose socket the deadline can reach."""

    def __init__(self) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


def _check_status(status: int, expect: frozenset[int]) -> None:
    if status in expect:
        return
    if 300 <= status < 400:
        raise SourceError(f"answered {status}, a redirect, which Beacon does not follow")
    raise SourceError(f"answered {status}")


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SourceError("answered something that is not JSON") from error


@contextlib.contextmanager
def _in_words(deadline: _Deadline, seconds: float) -> Iterator[None]:
    """Whatever goes wrong on the way, as a sentence for the screen."""
    late = f"did not answer within {seconds:g} s"
    try:
        yield
    except SourceError:
        raise
    except requests.ConnectTimeout as error:
        raise SourceError(f"did not take a connection within {min(CONNECT_S, seconds):g} s") from error
    except (requests.Timeout, TimeoutError, urllib3.exceptions.TimeoutError) as error:
        raise SourceError(late) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise SourceError(late if deadline.passed else _why(error)) from error


def _why(error: BaseException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "has a certificate that cannot be trusted"
    text = str(error)
    if "NameResolutionError" in text or "Failed to resolve" in text:
        return "has an address whose name cannot be resolved"
    if "Connection refused" in text:
        return "refused the connection"
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return "has an address that cannot be used"
    return "closed the connection before its answer was complete"

"""A source's single, bounded connection to a Redis or Valkey server.

redis-py implements the protocol. This adds limits: on the time of each wait and of a whole read, on bytes, and on how
long a large answer may block the event loop. No error or log line contains a password.
"""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool, parse_url
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as Disconnected
from redis.retry import Retry

from app.sources.protocol import ServiceAddress, SourceError
from app.sources.redis.limits import (
    CONNECT_S,
    BudgetExceeded,
    CheckedConnection,
    CheckedSocketConnection,
    CheckedSslConnection,
    ReadBudget,
    make_bounded_connection,
)

ANSWER_S = 5.0
READ_TIMEOUT_S = 15.0
MAX_BYTES = 8 * 1024 * 1024
# Limits on list entries in one read. Reading a single job needs few.
MAX_ENTRIES = 500_000
FEW_ENTRIES = 10_000
# hiredis parses this much at once. With a yield after each, it blocks the event loop for a fraction of a millisecond.
_READ_BYTES = 16 * 1024
EXPECTED = "expected an address like redis://host:6379/0, rediss://host:6379/0 or unix:///path/to/socket?db=0"


class RedisServer:
    """Reads from one server over one connection that is kept between polls. For one thread at a time."""

    def __init__(
        self,
        address: ServiceAddress,
        *,
        answer_s: float = ANSWER_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        max_bytes: int = MAX_BYTES,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._read_timeout_s, self._max_bytes, self._max_entries = read_timeout_s, max_bytes, max_entries
        self._budget = ReadBudget(answer_s)
        kwargs = _connection_kwargs(address)
        self._pool = ConnectionPool(
            **kwargs,
            budget=self._budget,
            max_connections=1,
            socket_connect_timeout=CONNECT_S,
            socket_timeout=answer_s,
            socket_read_size=_READ_BYTES,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # RESP3 would let the server push unrelated messages in between
            client_name="beacon",
            driver_info=None,
        )
        self._client = redis.Redis(connection_pool=self._pool)

    @contextlib.contextmanager
    def reading(self, within_s: float | None = None, max_entries: int | None = None) -> Iterator[redis.Redis]:
        """Yield a client whose reads together stay within limits of time, bytes and entries.

        Server and network errors are raised as `SourceError`. After any error the connection is closed, so that the
        rest of an answer is not mistaken for the next one.
        """
        seconds = self._read_timeout_s if within_s is None else min(within_s, self._read_timeout_s)
        self._budget.renew(seconds, self._max_bytes, max_entries or self._max_entries)
        try:
            yield self._client
        except (RedisError, OSError, UnicodeError, MemoryError, BudgetExceeded) as error:
            self.close()
            raise SourceError(self._budget.find_exceeded_limit() or describe_error(error)) from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._pool.disconnect()


def check_url(url: str) -> ServiceAddress:
    """Split the password from the address. Raises `ValueError`, whose text repeats nothing of the input."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(EXPECTED) from None
    place = parts.path if parts.scheme == "unix" else parts.hostname
    if parts.scheme not in ("redis", "rediss", "unix") or not place or port == 0 or parts.fragment:
        raise ValueError(EXPECTED)
    query = parse_qs(parts.query, keep_blank_values=True)
    database = query.pop("db", [""])[-1] if parts.scheme == "unix" else parts.path.strip("/")
    if query or (parts.scheme != "unix" and parts.query):
        raise ValueError("expected an address without ? (but unix:///path?db=0)")
    if database and not (database.isascii() and database.isdecimal()):
        raise ValueError("expected the number of a database at the end, such as redis://host:6379/0")
    host = parts.netloc.rpartition("@")[2]
    shown = f"{parts.username}@{host}" if parts.username else host
    query_part = f"?{parts.query}" if parts.query else ""
    password = None if parts.password is None else unquote(parts.password)
    return ServiceAddress(f"{parts.scheme}://{shown}{parts.path}{query_part}", password or None)


def describe_error(error: BaseException) -> str:
    """Return an error text for pages, without address, key, password or the server's own text."""
    cause: BaseException | None = error
    while cause is not None:  # redis-py keeps the underlying error as its exception's context
        for kind, words in _ERROR_TEXTS:
            if isinstance(cause, kind):
                return words
        cause = cause.__cause__ or cause.__context__
    if "max number of clients" in str(error):
        return "accepts no more connections"
    if isinstance(error, ResponseError):
        return _describe_refusal(str(error))
    if isinstance(error, Disconnected | OSError):
        return "closed the connection before its answer was complete"
    return "answered something that is not the Redis protocol"


_ERROR_TEXTS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "has a certificate that cannot be trusted"),
    (ssl.SSLError, "does not speak TLS correctly"),
    (ConnectionRefusedError, "refused the connection"),
    (FileNotFoundError, "refused the connection: its socket does not exist"),
    (PermissionError, "has a socket that Beacon may not open"),
    (socket.gaierror, "has an address whose name cannot be resolved"),
    (AuthenticationWrongNumberOfArgsError, "accepts no user name, only a password"),
    (AuthenticationError, "requires a password, or rejects the given one"),
    (NoPermissionError, "does not let this user read what Beacon needs"),
    (BusyLoadingError, "is still loading its data"),
    (AskError, "is part of a cluster, which Beacon cannot read"),
    (MasterDownError, "has lost its primary"),
    (ClusterDownError, "is part of a cluster that is down"),
)
_REFUSAL_TEXTS = {
    "NOAUTH": "requires a password",
    "WRONGPASS": "rejects the user name or the password",
    "DENIED": "accepts no connections from other machines",
    "MISCONF": "reports that it cannot save its data",
    "WRONGTYPE": "has other data under a key that Beacon reads",
    "BUSY": "is busy with a script",
}


def _describe_refusal(text: str) -> str:
    word = text.split(" ", 1)[0]
    if word in _REFUSAL_TEXTS:
        return _REFUSAL_TEXTS[word]
    if "DB index" in text:
        return "has no database with that number"
    # Any other text may quote what was sent. Its first word, by convention, is a code in capitals.
    shown = word if word.isascii() and word.isalpha() and word.isupper() and len(word) <= 20 else ""
    return f"answered with an error{': ' + shown if shown else ''}"


_CONNECTIONS = {
    "redis": make_bounded_connection(CheckedConnection),
    "rediss": make_bounded_connection(CheckedSslConnection),
    "unix": make_bounded_connection(CheckedSocketConnection),
}


def _connection_kwargs(address: ServiceAddress) -> dict[str, Any]:
    kwargs = dict(parse_url(address.url))  # type: ignore[no-untyped-call]
    kwargs["connection_class"] = _CONNECTIONS[urlsplit(address.url).scheme]
    kwargs["reach"] = address.reach
    kwargs.setdefault("db", 0)
    kwargs["db"] = int(kwargs["db"])
    if address.password is not None:
        kwargs["password"] = address.password
    return kwargs

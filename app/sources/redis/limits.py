"""Limits for one read from Redis: time, bytes, list entries and time on the event loop. Used by `client.py`."""

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from typing import Any, cast

from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from app.infra.concurrency import TimeSlice
from app.sources.host_rules import ForbiddenAddress, Reach

CONNECT_S = 2.0
# The header of a list or map in an answer, or text that looks like one. An entry takes at least `_\r\n`.
_LIST = re.compile(rb"\n[*%~>](\d{1,20})\r")
_MIN_ENTRY_BYTES = 3
_TAIL_BYTES = 24


class BudgetExceeded(Exception):
    """The answer has more bytes or entries than one read may take."""


class ReadBudget:
    """The remaining time, bytes and entries of one read, and which limit it exceeded."""

    def __init__(self, answer_s: float) -> None:
        self._answer_s = answer_s
        self._seconds, self._ends, self._max_bytes, self._bytes = 0.0, 0.0, 0, 0
        self._max_entries = self._entries = 0
        self._late: str | None = None
        self.pace = TimeSlice()

    def renew(self, seconds: float, max_bytes: int, max_entries: int) -> None:
        self._seconds, self._ends = seconds, time.monotonic() + seconds
        self._max_bytes, self._bytes, self._late = max_bytes, max_bytes, None
        self._max_entries = self._entries = max_entries

    def wait_s(self) -> float:
        """Return how long to wait for the next byte. Raises `TimeoutError` if no time is left."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, self._answer_s)

    def spend_bytes(self, count: int) -> None:
        self._bytes -= count
        if self._bytes < 0:
            raise BudgetExceeded

    def spend_entries(self, entries: int) -> None:
        """Count the entries of a list that begins: each entry costs work, however few bytes it has."""
        if entries * _MIN_ENTRY_BYTES > self._max_bytes:
            self._bytes = -1
            raise BudgetExceeded
        self._entries -= entries
        if self._entries < 0:
            raise BudgetExceeded

    @contextlib.contextmanager
    def record_timeout(self, what: str, seconds: float) -> Iterator[None]:
        """Record what timed out, because redis-py's exception does not say."""
        try:
            yield
        except TimeoutError:
            self._late = f"did not {what} within {seconds:g} s"
            raise

    def find_exceeded_limit(self) -> str | None:
        if self._bytes < 0:
            return f"answered with more than {self._max_bytes / (1024 * 1024):g} MiB"
        if self._entries < 0:
            return f"answered with lists of more than {self._max_entries:,} entries"
        if time.monotonic() >= self._ends:
            return f"did not finish answering within {self._seconds:g} s"
        return self._late

    def answering(self) -> contextlib.AbstractContextManager[None]:
        return self.record_timeout("answer", self._answer_s)


class BoundedSocket:
    """A connected socket that reads and writes within a budget and yields to the event loop."""

    def __init__(self, connected: socket.socket, budget: ReadBudget) -> None:
        self._socket, self._budget = connected, budget
        self._tail = b"\n"

    def recv_into(self, buffer: bytearray) -> int:
        # If bytes are always available, reading never blocks and so never lets other greenlets run.
        self._budget.pace()
        self._socket.settimeout(self._budget.wait_s())
        with self._budget.answering():
            count = self._socket.recv_into(buffer)
        self._budget.spend_bytes(count)
        self._check_announced_entries(bytes(buffer[:count]))
        return count

    def _check_announced_entries(self, came: bytes) -> None:
        """Check list lengths before the parser does: it allocates a list at its announced length, up to 2³¹ entries.

        A header that is split between two reads is counted once, when its end has arrived.
        """
        for length in _LIST.findall(self._tail + came):
            self._budget.spend_entries(int(length))
        self._tail = came[-_TAIL_BYTES:]

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._budget.wait_s())
        with self._budget.answering():
            self._socket.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class CheckedConnection(Connection):
    """Connects only to checked addresses. redis-py would resolve the name again."""

    def __init__(self, *, reach: Reach, **kwargs: Any) -> None:
        self._reach = reach
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]

    def _connect(self) -> socket.socket:
        name, failure = self.host, OSError("no address")
        try:
            for address in self._reach.resolve(name, self.port):
                self.host = address
                try:
                    return cast(socket.socket, super()._connect())  # type: ignore[no-untyped-call]
                except OSError as error:
                    failure = error
        finally:
            self.host = name  # the TLS certificate is checked against this
        raise failure


class CheckedSslConnection(SSLConnection, CheckedConnection):
    """The same with TLS."""


class CheckedSocketConnection(UnixDomainSocketConnection):
    """Connects only to a Unix socket that the host allows."""

    def __init__(self, *, reach: Reach, **kwargs: Any) -> None:
        self._reach = reach
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]

    def _connect(self) -> socket.socket:
        refusal = self._reach.explain_refused_socket(self.path)
        if refusal is not None:
            raise ForbiddenAddress(refusal)
        return cast(socket.socket, super()._connect())  # type: ignore[no-untyped-call]


def make_bounded_connection(connecting: Any) -> Any:
    """Return a subclass of redis-py's connection class that uses a `BoundedSocket`."""

    class BoundedConnection(connecting):  # type: ignore[misc] # mypy cannot follow a variable base class
        def __init__(self, *, budget: ReadBudget, **kwargs: Any) -> None:
            self._budget = budget
            super().__init__(**kwargs)

        def _connect(self) -> BoundedSocket:
            self.socket_connect_timeout = min(CONNECT_S, self._budget.wait_s())
            with self._budget.record_timeout("take a connection", CONNECT_S):
                return BoundedSocket(super()._connect(), self._budget)

    return BoundedConnection

"""What one stretch of reading from Redis may take: time, bytes, and the event loop. For `client.py`."""

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from typing import Any, cast

from redis.connection import Connection, SSLConnection

from app.infra.concurrency import TimeSlice
from app.sources.host_rules import Forbidden, Reach
from app.sources.protocol import SourceError

CONNECT_S = 2.0
# The head of a list or map in an answer, or what looks like one in a text; an entry takes no less than `_\r\n`.
_LIST = re.compile(rb"\n[*%~>](\d{1,20})\r")
_LEAST_ENTRY = 3
_TAIL = 24


class TooMuch(Exception):
    """More bytes or entries came than a stretch of reading may take."""


class Budget:
    """What a stretch of reading may still take, and whether that is why it ended."""

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
        """For how long the next byte may be waited for."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, self._answer_s)

    def can_take(self, count: int) -> None:
        if count > self._max_bytes:
            self._bytes = -1
            raise TooMuch

    def took(self, count: int) -> None:
        self._bytes -= count
        if self._bytes < 0:
            raise TooMuch

    def promised(self, entries: int) -> None:
        """A list of so many begins: each of them is work, however few bytes it has."""
        self.can_take(entries * _LEAST_ENTRY)
        self._entries -= entries
        if self._entries < 0:
            raise TooMuch

    @contextlib.contextmanager
    def noting(self, what: str, seconds: float) -> Iterator[None]:
        """Remembers what was being waited for where that took too long: redis-py's exception does not tell."""
        try:
            yield
        except TimeoutError:
            self._late = f"did not {what} within {seconds:g} s"
            raise

    def why_over(self) -> str | None:
        if self._bytes < 0:
            return f"answered with more than {self._max_bytes / (1024 * 1024):g} MiB"
        if self._entries < 0:
            return f"answered with lists of more than {self._max_entries:,} entries"
        if time.monotonic() >= self._ends:
            return f"did not finish answering within {self._seconds:g} s"
        return self._late

    def answering(self) -> contextlib.AbstractContextManager[None]:
        return self.noting("answer", self._answer_s)

    def connecting(self) -> contextlib.AbstractContextManager[None]:
        return self.noting("take a connection", CONNECT_S)


class BoundedSocket:
    """A connected socket that reads and writes within a budget, and breathes."""

    def __init__(self, connected: socket.socket, budget: Budget) -> None:
        self._socket, self._budget = connected, budget
        self._tail = b"\n"

    def recv_into(self, buffer: bytearray) -> int:
        # Where bytes are always there already, reading never waits, and so never lets others run.
        self._budget.pace()
        self._socket.settimeout(self._budget.wait_s())
        with self._budget.answering():
            count = self._socket.recv_into(buffer)
        self._budget.took(count)
        self._refuse_empty_promises(bytes(buffer[:count]))
        return count

    def _refuse_empty_promises(self, came: bytes) -> None:
        """The parser makes room for a list as soon as its length is said, for all of 2³¹ entries if need be.

        A head that is cut in two is met once, when its end has come.
        """
        for length in _LIST.findall(self._tail + came):
            self._budget.promised(int(length))
        self._tail = came[-_TAIL:]

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._budget.wait_s())
        with self._budget.answering():
            self._socket.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class CheckedConnection(Connection):
    """Goes only to addresses that were looked at: redis-py would resolve the name by itself."""

    def __init__(self, *, reach: Reach, **kwargs: Any) -> None:
        self._reach = reach
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]

    def _connect(self) -> socket.socket:
        name, failure = self.host, OSError("no address")
        try:
            for address in self._addresses(name):
                self.host = address
                try:
                    return cast(socket.socket, super()._connect())  # type: ignore[no-untyped-call]
                except OSError as error:
                    failure = error
        finally:
            self.host = name  # what a certificate is checked for
        raise failure

    def _addresses(self, name: str) -> list[str]:
        try:
            return self._reach.addresses(name, self.port)
        except Forbidden as error:
            raise SourceError(str(error)) from None


class CheckedSslConnection(SSLConnection, CheckedConnection):
    """The same below TLS."""


def bounded(connecting: Any) -> Any:
    """redis-py's connection of one kind, over such a socket."""

    class BoundedConnection(connecting):  # type: ignore[misc] # mypy cannot follow a base that varies
        def __init__(self, *, budget: Budget, **kwargs: Any) -> None:
            self._budget = budget
            super().__init__(**kwargs)

        def _connect(self) -> BoundedSocket:
            self.socket_connect_timeout = min(CONNECT_S, self._budget.wait_s())
            with self._budget.connecting():
                return BoundedSocket(super()._connect(), self._budget)

    return BoundedConnection

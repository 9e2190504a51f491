"""urllib3 connections that a deadline can shut down at any point, with a last check before their first byte."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

from app.infra.deadlines import Deadline


class _CurrentRequest(threading.local):
    """This thread's (or greenlet's) request. Thread-local because connections are made deep inside the library."""

    deadline: Deadline | None = None
    is_sent = False
    """True if anything of the latest request may have been sent."""
    _check: Callable[[], None] | None = None

    @contextlib.contextmanager
    def track(self, deadline: Deadline, check: Callable[[], None]) -> Iterator[None]:
        """`check` is called just before the first byte; to send nothing, it raises an exception of its own."""
        self.deadline, self._check, self.is_sent = deadline, check, False
        try:
            yield
        finally:
            self.deadline = self._check = None

    def check_before_send(self) -> None:
        """The DNS lookup may have taken minutes, or the process may have been suspended."""
        if not self.is_sent and self.deadline is not None and self._check is not None:
            self._check()
            if time.monotonic() >= self.deadline.at:
                self.deadline.cut()
                raise TimeoutError
        self.is_sent = True


current_request = _CurrentRequest()


class _WatchedConnection:
    """Mixin: the current request's deadline reaches the socket, because headers and handshake may trickle too."""

    sock: socket.socket | None

    def _new_conn(self) -> socket.socket:
        connected = cast(socket.socket, super()._new_conn())  # type: ignore[misc] # the connection's own
        if current_request.deadline is not None:
            current_request.deadline.watch_twin(connected)
        return connected

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined] # as above
        current_request.check_before_send()
        super().send(data)  # type: ignore[misc] # as above

    def getresponse(self) -> HTTPResponse:
        if current_request.deadline is not None:
            current_request.deadline.watch(self.sock)
        return cast(HTTPResponse, super().getresponse())  # type: ignore[misc] # as above


class PlainConnection(_WatchedConnection, HTTPConnection):  # type: ignore[misc] # urllib3's own types
    pass


class TlsConnection(_WatchedConnection, HTTPSConnection):  # type: ignore[misc] # urllib3's own types
    pass

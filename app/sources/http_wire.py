"""The connections of `http.py`: the deadline reaches their sockets, and they know when their first byte leaves."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from app.deadline import Deadline
from app.sources.base import NotSent


class _Current(threading.local):
    """The request that this thread makes: connections are made deep inside the library."""

    deadline: Deadline | None = None
    not_after: datetime | None = None
    sent: bool = False  # whether anything of the newest request may have left

    @contextlib.contextmanager
    def at(self, deadline: Deadline, not_after: datetime | None) -> Iterator[None]:
        self.deadline, self.not_after, self.sent = deadline, not_after, False
        try:
            yield
        finally:
            self.deadline = None

    def check(self) -> None:
        """Just before the first byte: a name may have been looked up for minutes, a process may have been frozen."""
        if self.sent or self.deadline is None:
            return
        if self.not_after is not None and datetime.now(UTC) >= self.not_after:
            raise NotSent("was not asked: it was too late")
        if time.monotonic() >= self.deadline.at:
            self.deadline.cut()
            raise TimeoutError


current = _Current()


class _Noted:
    """A connection whose socket the deadline reaches, and which notes its first byte."""

    sock: socket.socket | None

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined] # the connection's own
        current.check()
        current.sent = True
        super().send(data)  # type: ignore[misc] # as above

    def getresponse(self) -> urllib3.response.HTTPResponse:
        if current.deadline is not None:
            current.deadline.watch(self.sock)
        return cast(urllib3.response.HTTPResponse, super().getresponse())  # type: ignore[misc] # as above


class _Connection(_Noted, HTTPConnection):  # type: ignore[misc] # urllib3's own types
    pass


class _SecureConnection(_Noted, HTTPSConnection):  # type: ignore[misc] # urllib3's own types
    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        if current.deadline is not None:
            current.deadline.watch_twin(connected)  # a handshake can drip as well
        return connected


class Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection

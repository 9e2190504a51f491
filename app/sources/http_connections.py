"""urllib3 connections for `http_client.py`: with a deadline, an address check and a record of the first byte sent."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from app.infra.deadlines import Deadline
from app.sources.host_rules import ForbiddenAddress, Reach
from app.sources.protocol import NotSent, SourceError


class _CurrentRequest(threading.local):
    """This thread's current request. Thread-local because connections are created deep inside the library."""

    deadline: Deadline | None = None
    not_after: datetime | None = None
    sent: bool = False  # True if anything of the latest request may have been sent

    @contextlib.contextmanager
    def track(self, deadline: Deadline, not_after: datetime | None) -> Iterator[None]:
        self.deadline, self.not_after, self.sent = deadline, not_after, False
        try:
            yield
        finally:
            self.deadline = None

    def check_before_send(self) -> None:
        """Check the deadlines just before the first byte: a DNS lookup or a frozen process may have taken minutes."""
        if self.sent or self.deadline is None:
            return
        if self.not_after is not None and datetime.now(UTC) >= self.not_after:
            raise NotSent("was not contacted: the deadline had passed")
        if time.monotonic() >= self.deadline.at:
            self.deadline.cut()
            raise TimeoutError


current_request = _CurrentRequest()


class _CheckedConnection:
    """Mixin for connections: the deadline can reach the socket, the first byte is recorded, addresses are checked."""

    sock: socket.socket | None
    port: int
    _dns_host: str

    def __init__(self, *arguments: Any, reach: Reach, **more: Any) -> None:
        self._reach = reach
        super().__init__(*arguments, **more)

    def _new_conn(self) -> socket.socket:
        """Connect to one of the checked addresses. The library would resolve the name again."""
        name = self._dns_host
        failure: Exception | None = None
        try:
            for address in self._addresses(name):
                self._dns_host = address
                try:
                    return cast(socket.socket, super()._new_conn())  # type: ignore[misc] # the connection's own
                except (NewConnectionError, ConnectTimeoutError) as error:
                    failure = error
        finally:
            self._dns_host = name
        assert failure is not None  # noqa: S101 -- there is at least one address
        raise failure

    def _addresses(self, name: str) -> list[str]:
        try:
            return self._reach.resolve(name, self.port)
        except ForbiddenAddress as error:
            raise SourceError(str(error)) from None
        except OSError as error:
            raise NameResolutionError(name, self, error) from error  # type: ignore[arg-type] # it is a connection

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined] # the connection's own
        current_request.check_before_send()
        current_request.sent = True
        super().send(data)  # type: ignore[misc] # as above

    def getresponse(self) -> urllib3.response.HTTPResponse:
        if current_request.deadline is not None:
            current_request.deadline.watch(self.sock)
        return cast(urllib3.response.HTTPResponse, super().getresponse())  # type: ignore[misc] # as above


class _HttpConnection(_CheckedConnection, HTTPConnection):  # type: ignore[misc] # urllib3's own types
    pass


class _HttpsConnection(_CheckedConnection, HTTPSConnection):  # type: ignore[misc] # urllib3's own types
    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        if current_request.deadline is not None:
            current_request.deadline.watch_twin(connected)  # a TLS handshake can be slow byte by byte as well
        return connected


class Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection

"""urllib3 connections for `http_client.py` that connect only to addresses which the host allows."""

import socket
from typing import Any, cast

import urllib3
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from app.infra.deadline_connections import PlainConnection, TlsConnection
from app.sources.host_rules import Reach


class _CheckedConnection:
    """Mixin that connects to one of the checked addresses. The library would resolve the name again."""

    port: int
    _dns_host: str

    def __init__(self, *arguments: Any, reach: Reach, **more: Any) -> None:
        self._reach = reach
        super().__init__(*arguments, **more)

    def _new_conn(self) -> socket.socket:
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
        except OSError as error:
            raise NameResolutionError(name, self, error) from error  # type: ignore[arg-type] # it is a connection


class _HttpConnection(_CheckedConnection, PlainConnection):  # type: ignore[misc] # urllib3's own types
    pass


class _HttpsConnection(_CheckedConnection, TlsConnection):  # type: ignore[misc] # urllib3's own types
    pass


class Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection

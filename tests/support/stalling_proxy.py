"""A path to a server on which packets are lost from one moment on: connections stay open and nothing arrives."""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

from tests.support.machine import scaled


class StallingProxy:
    """`with StallingProxy(port) as path`: passes bytes on both ways, but for the time between `stall` and `go_on`."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._passes = threading.Event()
        self._passes.set()
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._passes.set()
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(scaled(5))
        for end in (self._listener, *self._ends):
            end.close()

    def stall(self) -> None:
        self._passes.clear()

    def go_on(self) -> None:
        self._passes.set()

    @property
    def connections(self) -> int:
        """All that were made, also since it stalls."""
        return len(self._ends) // 2

    def _run(self, target: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._ends += [client, server]
                self._run(self._pass_on, client, server)
                self._run(self._pass_on, server, client)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self._passes.wait()
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

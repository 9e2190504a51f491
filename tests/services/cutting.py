"""A wire between Beacon and a server that breaks where a test wants it: after a certain word went by."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Literal

from tests.support.machine import scaled

# `answer`: what bears the word arrives, its answer does not. `question`: it never arrives. `late`: it arrives once
# the test says so, long after the one who sent it has gone.
What = Literal["answer", "question", "late"]


class Wire:
    """Passes bytes on in both directions, until `word` comes from the client's side; then it breaks for good."""

    def __init__(self, port: int, word: bytes, lost: What) -> None:
        self._ends: list[socket.socket] = []
        self._port, self._word, self._lost = port, word, lost
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.broke = threading.Event()
        self.deliver = threading.Event()
        self.answered = threading.Event()
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def close(self) -> None:
        """Every thread has ended, and every connection of it is closed."""
        self.deliver.set()
        self.answered.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not wake the one that accepts
        self._listener.close()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(scaled(5))
        for end in self._ends:
            end.close()

    def _run(self, target: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.broke.is_set():
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._port))
                self._ends += [client, server]
                self._run(self._from_client, client, server)
                self._run(self._from_server, server, client)

    def _from_client(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while came := client.recv(1 << 20):
                if self._word in came:
                    self.broke.set()
                    self._break(came, client, server)
                    return
                server.sendall(came)
        server.close()

    def _break(self, came: bytes, client: socket.socket, server: socket.socket) -> None:
        if self._lost == "answer":
            server.sendall(came)
            self.answered.wait(scaled(20))
        client.shutdown(socket.SHUT_RDWR)
        if self._lost == "late":
            self.deliver.wait(scaled(30))
            server.sendall(came)
            self.answered.wait(scaled(20))
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes whoever still reads from it
        server.close()

    def _from_server(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while came := server.recv(1 << 20):
                if self.broke.is_set():
                    self.answered.set()
                    return
                client.sendall(came)


@contextlib.contextmanager
def wire(port: int, lost: What, word: bytes = b"EVAL") -> Iterator[Wire]:
    made = Wire(port, word, lost)
    try:
        yield made
    finally:
        made.close()

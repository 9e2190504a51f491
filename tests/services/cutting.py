"""A wire between Beacon and a server that breaks where a test wants it: after a certain word went by."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Literal

# `answer`: what bears the word arrives, its answer does not. `question`: it never arrives. `late`: it arrives once
# the test says so, long after the one who sent it has gone.
What = Literal["answer", "question", "late"]


class Wire:
    """Passes bytes on in both directions, until `word` comes from the client's side; then it breaks for good."""

    def __init__(self, port: int, word: bytes, lost: What) -> None:
        self._port, self._word, self._lost = port, word, lost
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.broke = threading.Event()
        self.deliver = threading.Event()
        self.answered = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.deliver.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.broke.is_set():
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._from_client, args=(client, server), daemon=True).start()
                threading.Thread(target=self._from_server, args=(server, client), daemon=True).start()

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
            self.answered.wait(20)
        client.shutdown(socket.SHUT_RDWR)
        if self._lost == "late":
            self.deliver.wait(30)
            server.sendall(came)
            self.answered.wait(20)
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

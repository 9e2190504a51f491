"""A pooler in transaction mode, like pgbouncer: each transaction of a client gets another session.

Each client has two sessions at the server and changes from one to the other whenever a transaction has ended. So what
it set or listens to in one is missing in the next, which is all that the tests are about.
"""

import socket
import struct
import threading
from contextlib import suppress

_READY, _IDLE = b"Z", b"I"


class TransactionPooler:
    """Used by `with`; `port` is where it listens."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "TransactionPooler":
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)

    def _begin(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args)  # type: ignore[arg-type] # our own methods
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                self._begin(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, ConnectionError):
            startup = self._read_startup(client)
            sessions = [self._open_session(startup) for _ in range(2)]
            client.sendall(sessions[0][1])
            current = 0
            while True:
                server = sessions[current][0]
                self._pass_requests(client, server)
                if self._pass_answers(server, client):
                    current = 1 - current

    def _read_startup(self, client: socket.socket) -> bytes:
        """The client's first packet. It asks for encryption before that, and is told that there is none."""
        while True:
            size = struct.unpack("!i", _read(client, 4))[0]
            body = _read(client, size - 4)
            if struct.unpack("!i", body[:4])[0] != 196_608:  # not version 3.0
                client.sendall(b"N")
                continue
            return struct.pack("!i", size) + body

    def _open_session(self, startup: bytes) -> tuple[socket.socket, bytes]:
        server = socket.create_connection(("127.0.0.1", self._server_port), 10)
        self._sockets.append(server)
        server.sendall(startup)
        told = b""
        while True:
            kind, message = _read_message(server)
            told += message
            if kind == _READY:
                return server, told

    @staticmethod
    def _pass_requests(client: socket.socket, server: socket.socket) -> None:
        """Until the client waits for an answer: a simple query, or the end of an extended one."""
        while True:
            kind, message = _read_message(client)
            if kind == b"X":
                raise ConnectionError
            server.sendall(message)
            if kind in (b"Q", b"S"):
                return

    @staticmethod
    def _pass_answers(server: socket.socket, client: socket.socket) -> bool:
        """Until the server is ready; True if it is in no transaction."""
        while True:
            kind, message = _read_message(server)
            client.sendall(message)
            if kind == _READY:
                return message.endswith(_IDLE)


def _read_message(sender: socket.socket) -> tuple[bytes, bytes]:
    head = _read(sender, 5)
    size = struct.unpack("!i", head[1:])[0]
    return head[:1], head + _read(sender, size - 4)


def _read(sender: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = sender.recv(size - len(found))
        if not piece:
            raise ConnectionError
        found += piece
    return found

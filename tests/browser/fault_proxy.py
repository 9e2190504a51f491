"""What may stand between a browser and Beacon: a proxy that goes wrong with streams and leaves the rest alone."""

import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, Self

from tests.support.machine import scaled

STREAM = b"GET /api/stream/events"
ENDS_WITHIN_S = 5.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
Mode = Literal["pass", "cut-after-hello", "say-nothing", "hold", "late", "login-page"]
SILENT = ("hold", "say-nothing")  # a stream that opened in one of them says nothing in the other either


def refusal(status: str, *headers: str) -> bytes:
    """What a server or somebody before it answers instead of a stream."""
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Length: 0", "Connection: close", *headers, "", ""]).encode()


class FaultProxy:
    """One request a connection, so that each is judged by its own path. `swap` replaces bytes of streams, `answers` are
    what the next requests for a stream get."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._streams: list[socket.socket] = []
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.mode: Mode = "pass"
        self.swap: tuple[bytes, bytes] | None = None
        self.answers: deque[bytes] = deque()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._listener)  # closed without a shutdown, it would leave its thread in accept()
        for one in list(self._open):
            _close(one)
        for thread in self._threads:
            thread.join(scaled(ENDS_WITHIN_S))

    def cut(self) -> None:
        """Every stream that is open ends, as when a cable is pulled and put back."""
        while self._streams:
            _close(self._streams.pop())

    def say(self, frame: str) -> None:
        """Words that every open stream gets beside the server's own."""
        for client in list(self._streams):  # whoever comes back upon these words has heard them
            with suppress(OSError):
                client.sendall(frame.encode())

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        with suppress(OSError):
            head = _read_head(client)
            streams = head.startswith(STREAM)
            if streams:
                self._streams.append(client)
            if streams and self.answers:
                client.sendall(self.answers.popleft())
            elif streams and self.mode == "login-page":
                client.sendall(HEAD.replace(b"event-stream", b"html") + b"<h1>Log in to the guest network</h1>")
            elif streams and self.mode == "say-nothing":
                client.sendall(HEAD)
                client.recv(1)  # until the browser gives up
            else:
                self._relay(client, head, streams=streams)
        _close(client)
        self._open.discard(client)

    def _relay(self, client: socket.socket, head: bytes, *, streams: bool) -> None:
        with socket.create_connection(("127.0.0.1", self._upstream)) as upstream:
            self._open.add(upstream)
            if streams:  # without chunks, so that words can be put in between and replaced
                head = head.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
            upstream.sendall(head.replace(b"Connection: keep-alive", b"Connection: close"))
            self._start(_pump, client, upstream)
            late = b""
            while data := upstream.recv(65_536):
                if streams and self.mode in SILENT:
                    continue
                data = late + data
                if streams and self.mode == "late":  # until the mode is another one
                    late = data
                    continue
                late = b""
                if streams and self.swap:
                    data = data.replace(*self.swap)
                if streams and self.mode == "cut-after-hello" and b"event: hello" in data:
                    end = data.index(b"\n\n", data.index(b"event: hello")) + 2
                    client.sendall(data[:end])  # and no event behind it, which would be a proof
                    return
                client.sendall(data)
        self._open.discard(upstream)

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)


def _read_head(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(65_536)
        if not part:
            raise ConnectionError
        data += part
    return data


def _pump(source: socket.socket, target: socket.socket) -> None:
    """The rest of a request; its end is the browser's going away."""
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


def _close(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()

"""The load client against a server whose every byte is known."""

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from bench.client import Client
from tests.support.machine import scaled

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Script = Callable[[socket.socket, bytes], None]


class Served:
    """Answers each connection by a script in a thread; `requests` are what the clients sent."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`, which closing alone does not
        self._listener.close()
        for connection in self.open:
            connection.close()
        self._thread.join(scaled(5))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.open.append(connection)
            self.requests.append(connection.recv(4096))
            with contextlib.suppress(OSError):  # a client has what it waited for, and its test is over
                self._script(connection, self.requests[-1])


@pytest.fixture
def serve() -> Iterator[Callable[[Script], Served]]:
    running: list[Served] = []

    def start(script: Script) -> Served:
        running.append(Served(script))
        return running[-1]

    yield start
    for served in running:
        served.close()


def frame(number: int, *, ago_ms: float = 0, line_end: str = "\n") -> bytes:
    sent = time.monotonic_ns() - int(ago_ms * 1e6)
    lines = [f"id: {number + 100}", "event: bench.event", f'data: {{"mark": "#{number}#{sent}#"}}', "", ""]
    return line_end.join(lines).encode()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_it_counts_deliveries_and_tells_latencies(serve: Callable[[Script], Served]) -> None:
    served = serve(lambda connection, _: connection.sendall(HEAD + b"event: hello\ndata: {}\n\n"))
    with Client(served.port, "/events") as client:
        assert client.open(3).streaming == 3
        client.start()
        for connection in served.open:
            connection.sendall(b"".join(frame(number, ago_ms=20) for number in range(1, 11)))
        assert client.wait(10, 5).complete == 3
        window = client.stop()
    assert window.deliveries == 30
    assert 20 <= window.p50_ms <= window.p99_ms <= window.max_ms * 1.02
    assert window.max_ms < 1_000


def test_it_counts_who_is_told_that_the_flag_is_off_and_since_when(serve: Callable[[Script], Served]) -> None:
    served = serve(lambda connection, _: connection.sendall(HEAD + b"event: hello\ndata: {}\n\n"))
    with Client(served.port, "/events") as client:
        client.open(3)
        client.start()
        time.sleep(0.02)
        for connection, reason in zip(served.open, (b"flag-off", b"flag-off", b"drain"), strict=True):
            connection.sendall(b'event: bye\ndata: {"reason":"%s"}\n\n' % reason)
            connection.close()
        while client.status().streaming:
            time.sleep(0.01)
        window = client.stop()
    assert (window.byes, window.deliveries) == (2, 0)
    assert 20 <= window.p50_ms <= window.p99_ms <= window.max_ms * 1.02
    assert window.max_ms < 1_000


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_frames_cut_anywhere_inside_chunks_cut_anywhere_are_whole(
    serve: Callable[[Script], Served], line_end: str
) -> None:
    body = b"".join(frame(number, line_end=line_end) for number in range(1, 6))
    wire = CHUNKED + b"".join(chunk(body[place : place + 13]) for place in range(0, len(body), 13))

    def drip(connection: socket.socket, _: bytes) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(0, len(wire), 7):
            connection.sendall(wire[place : place + 7])
            time.sleep(0.0005)

    served = serve(drip)
    with Client(served.port, "/events") as client:
        client.open(1)
        found = client.wait(5, 5)
    assert (found.complete, found.lost, found.repeated) == (1, 0, 0)


def test_it_sees_what_is_lost_and_what_comes_twice(serve: Callable[[Script], Served]) -> None:
    served = serve(lambda connection, _: connection.sendall(HEAD + b"".join(map(frame, [1, 2, 5, 5, 6]))))
    with Client(served.port, "/events") as client:
        client.open(1)
        found = client.wait(6, 5)
    assert (found.lost, found.repeated) == (2, 1)


def test_it_comes_back_with_its_cursor_and_without_half_a_frame(serve: Callable[[Script], Served]) -> None:
    def end_early(connection: socket.socket, request: bytes) -> None:
        if b"Last-Event-ID" in request:
            connection.sendall(HEAD + frame(2))
        else:
            connection.sendall(HEAD + frame(1) + frame(2)[:-1])
            time.sleep(0.05)
            connection.close()

    served = serve(end_early)
    with Client(served.port, "/events") as client:
        client.reconnect()
        client.open(1)
        found = client.wait(2, 5)
    assert b"Last-Event-ID: 101\r\n" in served.requests[1]
    assert (found.lost, found.repeated, found.closed) == (0, 0, 1)


def test_a_stalled_stream_reads_nothing_until_it_may(serve: Callable[[Script], Served]) -> None:
    served = serve(lambda connection, _: connection.sendall(HEAD))
    with Client(served.port, "/events") as client:
        client.open(2)
        client.stall(1)
        for connection in served.open:
            connection.sendall(frame(1))
        assert client.wait(1, 0.2).complete == 1
        client.read_again()
        assert client.wait(1, 5).complete == 2


def test_a_cycle_ends_with_the_first_frame(serve: Callable[[Script], Served]) -> None:
    served = serve(lambda connection, _: connection.sendall(HEAD + b"event: hello\ndata: {}\n\n"))
    with Client(served.port, "/events") as client:
        client.open(1)
        done, failed, _ = client.churn(20, at_once=4, within_s=5)
        assert client.status().streaming == 1
    assert (done, failed) == (20, 0)
    assert len(served.requests) == 21


def test_an_answer_that_is_no_stream_is_told(serve: Callable[[Script], Served]) -> None:
    refusal = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
    served = serve(lambda connection, _: connection.sendall(refusal))
    with Client(served.port, "/events") as client, pytest.raises(RuntimeError, match="last status 429"):
        client.open(1)

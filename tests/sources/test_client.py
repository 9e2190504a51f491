"""The connection to Redis: addresses apart from their passwords, and servers that do not behave."""

import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from app.sources.protocol import ServiceAddress, SourceError
from app.sources.redis.client import RedisServer, check_url
from app.sources.rq.rq_source import RqOptions, RqSource
from tests.support.machine import scaled

MIB = 1024 * 1024
Answer = Callable[[socket.socket], None]


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """Welcomes each client as Redis does, then answers its first request by `answer`."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_now: list[socket.socket] = []

    def serve(client: socket.socket) -> None:
        with suppress(OSError):
            client.recv(4096)
            client.sendall(b"+OK\r\n")  # CLIENT SETNAME
            client.recv(4096)
            answer(client)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                open_now.append(client)
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for client in open_now:
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        client.close()
    thread.join(scaled(5))


def reason(url: str, read_timeout_s: float = 5.0, answer_s: float = 0.5) -> str:
    source = RqSource(
        RedisServer(check_url(url), answer_s=answer_s, read_timeout_s=read_timeout_s), RqOptions(), 10_000
    )
    with pytest.raises(SourceError) as refused:
        source.read_snapshot()
    return refused.value.reason


def say(data: bytes, *, close: bool = False) -> Answer:
    def answer(client: socket.socket) -> None:
        client.sendall(data)
        if close:
            client.shutdown(socket.SHUT_RDWR)

    return answer


def flood(client: socket.socket) -> None:
    client.sendall(b"$104857600\r\n")
    for _ in range(100):
        client.sendall(b"x" * MIB)


def drip(client: socket.socket) -> None:
    while True:
        client.sendall(b":")
        time.sleep(0.05)


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "address"),
        [
            ("redis://jobs:6379/0", ServiceAddress("redis://jobs:6379/0")),
            ("redis://jobs", ServiceAddress("redis://jobs")),
            ("rediss://jobs:6380/3", ServiceAddress("rediss://jobs:6380/3")),
            ("redis://:s%40cret@jobs/0", ServiceAddress("redis://jobs/0", "s@cret")),
            ("redis://beacon:secret@[::1]:6379/0", ServiceAddress("redis://beacon@[::1]:6379/0", "secret")),
            ("unix:///run/valkey.sock", ServiceAddress("unix:///run/valkey.sock")),
            (
                "unix://beacon:secret@/run/valkey.sock?db=2",
                ServiceAddress("unix://beacon@/run/valkey.sock?db=2", "secret"),
            ),
        ],
    )
    def test_the_password_is_split_off(self, url: str, address: ServiceAddress) -> None:
        assert check_url(url) == address
        RedisServer(address).close()

    @pytest.mark.parametrize(
        "url",
        [
            *("", "http://jobs", "redis://", "redis://:secret@", "redis://jobs:0", "redis://jobs:99999"),
            *("redis://jobs/mail", "redis://jobs/0?password=secret", "redis://jobs/0#x", "unix://", "redis://jobs/²"),
        ],
    )
    def test_anything_else_is_refused_without_repeating_it(self, url: str) -> None:
        with pytest.raises(ValueError, match=r"^expected ") as refused:
            check_url(url)
        assert "secret" not in str(refused.value)


class TestHostile:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (say(b"HTTP/1.1 200 OK\r\n\r\n"), "answered something that is not the Redis protocol"),
            (say(b"*2\r\n$10\r\n17", close=True), "closed the connection before its answer was complete"),
            (say(b"", close=True), "closed the connection before its answer was complete"),
            (say(b"+yes\r\n" * 3), "answered something other than RQ's data"),
            (say(b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n" + b":7\r\n" * 2), "answered something other than RQ's data"),
            (say(b"-NOPERM no\r\n" * 3), "does not let this user read what Beacon needs"),
            (say(b"-LOADING wait\r\n" * 3), "is still loading its data"),
            (say(b"-ERR max number of clients reached\r\n" * 3), "accepts no more connections"),
            (say(b"-MOVED 1 10.0.0.1:1\r\n" * 3), "is part of a cluster, which Beacon cannot read"),
            (say(b"-ERR the password is secret\r\n" * 3), "answered with an error"),
            (say(b""), "did not answer within 0.5 s"),
        ],
    )
    def test_what_is_wrong_is_said_in_a_sentence(self, answer: Answer, expected: str) -> None:
        with server(answer) as url:
            assert reason(url) == expected

    def test_a_server_that_drips_is_given_up_in_time(self) -> None:
        with server(drip) as url:
            began = time.monotonic()
            assert reason(url, read_timeout_s=1.0) == "did not finish answering within 1 s"
            assert time.monotonic() - began < scaled(5)

    def test_a_hundred_megabytes_are_not_taken(self) -> None:
        tracemalloc.start()
        with server(flood) as url:
            assert reason(url) == "answered with more than 8 MiB"
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 30 * MIB

    @pytest.mark.parametrize("count", [10_000_000, 2**31, 2**40])
    @pytest.mark.parametrize("before", [b"", b"+OK\r\n", b"*1\r\n*2\r\n"])
    def test_a_list_that_claims_to_be_endless_is_not_made_room_for(self, count: int, before: bytes) -> None:
        with server(say(before + b"*%d\r\n" % count)) as url:
            assert reason(url) == "answered with more than 8 MiB"

    def test_a_server_that_is_not_there_refuses(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            assert reason(f"redis://127.0.0.1:{probe.getsockname()[1]}/0") == "refused the connection"
        assert reason("unix:///nowhere/valkey.sock") == "refused the connection: its socket does not exist"

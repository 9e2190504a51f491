"""All sockets of a worker in one epoll: opened, drained, gone. The looks are the test's own; no loop runs."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from app.eventlog.cursor import StartPosition
from app.stream.broadcaster import Broadcaster
from app.stream.catchup import CatchUp
from app.stream.chunks import http_chunk
from app.stream.heartbeat import Heartbeats
from app.stream.hub import Hub
from app.stream.replay import Replay
from app.stream.socket_loop import ACK_TIMEOUT_MS, SocketLoop
from app.stream.socket_transport import Connection, SocketSubscriber
from tests.contract.wire import Dechunker
from tests.stream.readers import FakeLog, chunk, control, event, events, opening, reader, tcp_pair
from tests.support.cast import ALICE, BOB, Person
from tests.support.sse_client import Frame, Parser

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Worker:
    """What an engine holds, without its threads."""

    def __init__(self) -> None:
        self.allowed = {"alice", "bob"}
        self.log = FakeLog()
        self.hub = Hub(lambda user: user in self.allowed)
        self.rounds = Broadcaster(self.hub)
        self.catchup = CatchUp(self.hub, Replay(self.hub, self.log))
        self.pulse = Heartbeats(self.hub, 1.0, lambda: False)
        self.wires = SocketLoop(self.hub, self.catchup, self.pulse, lifetime_s=3600)
        self.ended: list[str] = []
        self._pairs = ExitStack()

    def connect(self, person: Person = ALICE, start: StartPosition | None = None, fill: bool = False) -> "Client":
        ours, client = self._pairs.enter_context(tcp_pair())
        unread = _fill(ours) if fill else 0
        made = opening(reader(person), start or StartPosition(self.hub.cursor, self.hub.cursor))
        wire = self.wires.open(ours, HEAD, made, lambda: self.ended.append(person.name), in_http_chunks=True)
        return Client(client, wire, unread)

    def tell(self, *new: int) -> None:
        self.hub.deliver([event(number) for number in new], new[-1])
        self.rounds.send()

    def look(self) -> None:
        """What the loop would do next, all of it."""
        self.wires._poll()
        while not self.catchup._waiting.empty():
            waiting = self.catchup._waiting.get()
            assert waiting is not None
            waiting.is_queued = False
            self.catchup._serve(waiting)

    def close(self) -> None:
        self.wires.stop()
        self.wires._epoll.close()
        self._pairs.close()


class Client:
    """Reads frames behind the head, which comes behind what it has not read before."""

    def __init__(self, connection: socket.socket, wire: SocketSubscriber, unread: int) -> None:
        self.connection, self.wire, self.unread = connection, wire, unread
        self._parser, self._dechunker = Parser(), Dechunker()
        self.raw = b""

    def frames(self) -> list[Frame]:
        """What has come up to now."""
        known = max(self.unread + len(HEAD), len(self.raw))
        self.raw += self.connection.recv(1 << 20)
        return self._parser.feed(self._dechunker.feed(self.raw[known:]))

    @property
    def has_the_last_chunk(self) -> bool:
        return self._dechunker.ended and not self._dechunker.rest

    def ids(self) -> list[str]:
        return [frame.id for frame in self.frames() if frame.id]


def _fill(ours: Connection) -> int:
    """An answer that its client has not read yet takes all the room there is, and more than a stream gets."""
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 512 * 1024)
    count = 0
    with suppress(BlockingIOError):
        while True:
            count += ours.send(b"-" * 65_536)
    return count


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def test_the_head_and_hello_go_out_first_and_the_reader_is_live(worker: Worker) -> None:
    client = worker.connect()
    (hello,) = client.frames()
    assert client.raw.startswith(HEAD)
    assert hello.event == "hello"
    assert (client.wire.live, len(worker.wires), len(worker.hub)) == (True, 1, 1)
    worker.tell(1, 2)
    assert client.ids() == ["1", "2"]


def test_a_reader_that_missed_something_is_read_to_first(worker: Worker) -> None:
    worker.log.events = events(1, 5)
    worker.hub.deliver((), 5)
    client = worker.connect(start=StartPosition(2, 5))
    assert not client.wire.live
    worker.look()
    assert client.ids() == ["3", "4", "5"]


def test_nothing_overtakes_a_hello_that_did_not_fit(worker: Worker) -> None:
    """An answer before it on the same connection may fill the kernel's buffers."""
    client = worker.connect(fill=True)
    assert client.wire.blocked_since is not None
    while len(client.raw) < client.unread // 2:
        assert client.frames() == []
    worker.tell(1)
    got: list[Frame] = []
    while len(got) < 2:
        worker.look()
        got += client.frames()
    assert client.raw[client.unread :].startswith(HEAD)
    assert [frame.id or frame.event for frame in got] == ["hello", "1"]
    assert worker.hub.counters.slow_now == 0


def test_a_stalled_reader_is_read_on_to_when_it_drains_and_holds_nobody_up(worker: Worker) -> None:
    stalled, other = worker.connect(), worker.connect(BOB)
    number, got = 0, list[str]()
    other.frames()
    while stalled.wire.blocked_since is None:
        number += 1
        worker.hub.deliver([event(number, text="x" * 3_000)], number)
        worker.rounds.send()
        got += other.ids()
    for _ in range(50):
        number += 1
        worker.tell(number)
        got += other.ids()
    assert got == [str(one) for one in range(1, number + 1)]
    late = list[str]()
    while len(late) < number:
        late += stalled.ids()
        worker.look()
    assert late == got
    assert stalled.wire.live


def test_a_client_that_closes_is_forgotten_everywhere(worker: Worker) -> None:
    client = worker.connect()
    client.frames()
    client.connection.close()
    while len(worker.wires):
        worker.look()
    assert (len(worker.hub), worker.ended) == (0, ["alice"])
    assert sum(map(len, worker.pulse._slots)) == 0
    assert worker.hub.counters.closes == {"client-gone": 1}


def test_a_client_that_resets_is_forgotten_too(worker: Worker) -> None:
    client = worker.connect()
    client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.connection.close()
    while len(worker.wires):
        worker.look()
    assert worker.ended == ["alice"]


def test_one_that_fails_ends_alone(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing, other = worker.connect(), worker.connect(BOB)

    def broken(_wire: SocketSubscriber) -> None:
        raise RuntimeError("mine")

    monkeypatch.setattr(SocketSubscriber, "on_readable", broken)
    failing.connection.sendall(b"x")
    while failing.wire.fd >= 0:
        worker.wires._poll()
    worker.tell(1)
    assert [frame.event for frame in other.frames()] == ["hello", "a"]
    assert "a stream failed: user=alice" in caplog.text
    assert worker.hub.counters.closes == {"error": 1}


@pytest.mark.parametrize("reason", ["drain", "flag-off"])
def test_whoever_comes_too_late_is_told_so(worker: Worker, reason: str) -> None:
    worker.hub.draining = reason == "drain"
    worker.allowed -= {"alice"} if reason == "flag-off" else set()
    client = worker.connect()
    assert [frame.event for frame in client.frames()] == ["hello", "bye"]
    assert client.has_the_last_chunk
    assert (len(worker.wires), worker.ended) == (0, ["alice"])


def test_a_revocation_closes_the_socket_at_once(worker: Worker) -> None:
    client = worker.connect()
    worker.hub.deliver([control(1, "user_changed", user="alice")], 1)
    assert client.frames()[-1].json()["reason"] == "revoked"
    assert client.has_the_last_chunk
    assert client.connection.recv(1) == b""
    assert len(worker.wires) == 0


def test_a_client_that_is_gone_before_it_was_opened_leaves_nothing(worker: Worker) -> None:
    with tcp_pair() as (ours, client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        worker.wires.open(ours, HEAD, opening(reader()), lambda: worker.ended.append("early"), in_http_chunks=True)
    while len(worker.wires):
        worker.look()
    assert (worker.ended, len(worker.hub)) == (["early"], 0)


def test_its_socket_is_set_up_for_streaming(worker: Worker) -> None:
    ours = worker.connect().wire._socket
    assert not ours.getblocking()
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 65_536  # Linux doubles it for its own needs
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == ACK_TIMEOUT_MS


def test_lifetimes_are_spread(worker: Worker) -> None:
    lives = [worker.connect().wire for _ in range(20)]
    seconds = [made.ends_at - made.opened_at for made in lives]
    assert all(0.8 * 3600 - 1 <= one <= 1.2 * 3600 + 1 for one in seconds)
    assert max(seconds) - min(seconds) > 60


def test_stopping_ends_all_of_them(worker: Worker) -> None:
    worker.connect()
    worker.connect(BOB)
    worker.wires.stop()
    assert (sorted(worker.ended), len(worker.wires), len(worker.hub)) == (["alice", "bob"], 0, 0)


def test_a_chunk_goes_to_the_client_unchanged(worker: Worker) -> None:
    client = worker.connect()
    client.frames()
    assert client.wire.push(chunk(0, 1, http_chunk(b"id: 1\ndata: one\n\n")))
    assert client.ids() == ["1"]

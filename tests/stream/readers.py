"""Hand-made events and readers for tests of the stream's parts, without an application."""

import itertools
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import cast

from app.eventlog.audience import EVERYONE, Viewer
from app.eventlog.cursor import StartPosition
from app.eventlog.reader import Event, EventPage
from app.stream import formats
from app.stream.chunks import Chunk
from app.stream.control import Opening
from app.stream.counters import Counters
from app.stream.formats import EventFormat
from app.stream.hub import Hub
from app.stream.queue_subscriber import QueuedSubscriber
from app.stream.socket_transport import Connection, SocketRegistry, SocketSubscriber
from app.stream.subscriber import Reader, Subscriber
from app.stream.topics import parse_topics
from tests.support.cast import ALICE, Person
from tests.support.machine import scaled
from tests.support.sse_client import parse as parse_frames


def event(event_id: int, event_type: str = "a", audience: str = EVERYONE, **data: object) -> Event:
    return Event(event_id, event_type, audience, data, "2026-11-21T12:00:00.000Z")


def events(first: int, last: int) -> list[Event]:
    """For everyone, both ends included."""
    return [event(number) for number in range(first, last + 1)]


def control(event_id: int, event_type: str, **data: object) -> Event:
    return event(event_id, f"control.{event_type}", "control", **data)


def reader(
    person: Person = ALICE,
    head: int = 0,
    topics: str | None = None,
    event_format: EventFormat = formats.JSON_FORMAT,
    login_id: str | None = None,
    token_id: int | None = None,
) -> Reader:
    return Reader(Viewer(person.name, person.role), event_format, parse_topics(topics), head, login_id, token_id)


def subscriber(
    person: Person = ALICE,
    after: int = 0,
    head: int = 0,
    topics: str | None = None,
    event_format: EventFormat = formats.JSON_FORMAT,
    login_id: str | None = None,
    token_id: int | None = None,
    on_end: Callable[[], None] | None = None,
) -> QueuedSubscriber:
    """A reader of the generator transport."""
    return QueuedSubscriber(reader(person, head, topics, event_format, login_id, token_id), after, on_end)


def opening(who: Reader, start: StartPosition | None = None) -> Opening:
    begins = start or StartPosition(0, 0)
    return Opening(who, begins, {"head": begins.head})


def opening_of(made: Subscriber) -> Opening:
    return opening(made.reader, StartPosition(made.cursor, made.reader.head))


def add(hub: Hub, made: Subscriber) -> None:
    """As a transport does: known to the hub, then looked at once more."""
    began = opening_of(made)
    hub.add(made, began)
    hub.check_admission(made, began)


def live(made: QueuedSubscriber) -> QueuedSubscriber:
    made.live = True
    return made


def joined(hub: Hub, made: QueuedSubscriber) -> QueuedSubscriber:
    """Added, and live unless something lies between."""
    add(hub, made)
    hub.go_live(made)
    return made


def ids_in(data: bytes) -> list[int]:
    """The ids of all frames that carry one; `data` must hold whole frames only."""
    return [int(frame.id) for frame in parse_frames(data) if frame.id is not None]


def taken(made: QueuedSubscriber) -> list[int]:
    """The ids of what is queued."""
    return ids_in(made.take(0))


def chunk(after: int, upto: int, data: bytes, events: int = 1) -> Chunk:
    return Chunk(data, after, upto, events)


class FakeLog:
    """A log in memory; `down` is what reading it raises."""

    def __init__(self, *events: Event, page: int = 500) -> None:
        self.events, self.page = list(events), page
        self.down: Exception | None = None
        self.reads = 0

    @property
    def head(self) -> int:
        return max((one.id for one in self.events), default=0)

    def __call__(self, cursor: int, audiences: Collection[str]) -> EventPage:
        self.reads += 1
        if self.down:
            raise self.down
        found = [one for one in self.events if one.id > cursor and one.audience in audiences][: self.page]
        full = len(found) == self.page
        return EventPage(found, found[-1].id if full else max(cursor, self.head), full)


class FakeSocket:
    """Takes `room` bytes (None: any number), then it would block. `gone` is what talking to it raises."""

    family = socket.AF_UNIX
    _numbers = itertools.count(100_000)

    def __init__(self, room: int | None = None) -> None:
        self.room = room
        self._number = next(self._numbers)
        self.taken = b""
        self.incoming: list[bytes] = []
        self.gone: OSError | None = None
        self.calls: list[str] = []

    def fileno(self) -> int:
        return self._number

    def setblocking(self, _flag: bool) -> None: ...

    def setsockopt(self, *_option: int) -> None: ...

    def send(self, data: bytes | memoryview) -> int:
        self._check()
        count = len(data) if self.room is None else min(self.room, len(data))
        if not count:
            raise BlockingIOError
        self.taken += bytes(data[:count])
        if self.room is not None:
            self.room -= count
        return count

    def recv(self, _bytes: int) -> bytes:
        self._check()
        if not self.incoming:
            raise BlockingIOError
        return self.incoming.pop(0)

    def shutdown(self, _how: int) -> None:
        self.calls.append("shutdown")
        self._check()

    def close(self) -> None:
        self.calls.append("close")

    def _check(self) -> None:
        if self.gone:
            raise self.gone


class FakeOwner:
    """Keeps what wires ask for; `held` are those that wait for room."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.to_catch_up: list[SocketSubscriber] = []
        self.held: list[SocketSubscriber] = []
        self.forgotten: list[str] = []

    def catch_up(self, wire: SocketSubscriber) -> None:
        self.to_catch_up.append(wire)

    def watch_writable(self, wire: SocketSubscriber, *, wanted: bool) -> None:
        if wanted:
            self.held.append(wire)
        else:
            self.held.remove(wire)

    def forget(self, wire: SocketSubscriber, reason: str) -> None:
        assert wire.fd >= 0, "its number is needed to forget it"
        self.forgotten.append(reason)


def wire(
    connection: FakeSocket | Connection,
    owner: SocketRegistry,
    who: Reader | None = None,
    after: int = 0,
    ends_at: float = 1e12,
    on_end: Callable[[], None] | None = None,
    *,
    in_http_chunks: bool = False,
) -> SocketSubscriber:
    plain = cast(Connection, connection)
    return SocketSubscriber(plain, owner, who or reader(), after, ends_at, on_end, in_http_chunks=in_http_chunks)


@contextmanager
def tcp_pair(receive_bytes: int = 4_096) -> Iterator[tuple[Connection, socket.socket]]:
    """Our end as the transport has it, small buffers on both sides; and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(scaled(5))
        client.connect(listener.getsockname())
        accepted = listener.accept()[0]
        ours = Connection(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        try:
            yield ours, client
        finally:
            ours.close()


def read_to_end(client: socket.socket) -> bytes:
    """All until the server closes; a reset raises."""
    found = b""
    while part := client.recv(65_536):
        found += part
    return found

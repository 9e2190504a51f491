"""The promise, against a model: whatever interleaves, a reader gets its audience's events once and in order.

The model is the list of what was appended. Rules append, prune and put an older log back; let the tail deliver, the
rounds send, catch-up take a turn, hearts beat and time pass; let clients connect over both transports, read a few
bytes, stall, drain, break off and resume with the last id they have whole. The same happens in the middle of a look at
the log, where going live could lose or repeat something. Ring, chunks, queues and pages are tiny.
"""

import select
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, cast
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from app.eventlog.audience import CONTROL, EVERYONE
from app.eventlog.cursor import StartPosition, resolve_start
from app.eventlog.reader import Event, EventPage
from app.stream.broadcaster import Broadcaster
from app.stream.catchup import CatchUp
from app.stream.generator_transport import GeneratorStream, StreamTiming
from app.stream.heartbeat import SLOW_READER_TIMEOUT_S, WHEEL_TICK_S, Heartbeats
from app.stream.hub import Hub
from app.stream.replay import LogUnavailable, Replay
from app.stream.ring_buffer import RingBuffer
from app.stream.socket_loop import SocketLoop
from app.stream.socket_transport import Connection, SocketSubscriber
from app.stream.subscriber import Reader
from tests.contract.wire import Dechunker
from tests.stream.readers import FakeSocket, event, opening, reader
from tests.support.cast import ADA, ALICE, BOB, Person
from tests.support.sse_client import Frame, Parser

PAGE = 3
RING_EVENTS = 5
CHUNK_BYTES = 300
QUEUE_BYTES = 250  # two or three frames
MAX_TEXT = 400
FRAME_BYTES = MAX_TEXT + 150
LIFETIME_S = 1e6

PEOPLE = (ALICE, BOB, ADA)
TOPICS = (None, "job.*", "job.a,other")
AUDIENCE = st.sampled_from([EVERYONE, EVERYONE, "user:alice", "role:operator", "role:viewer"])
TYPE = st.sampled_from(["job.a", "job.b", "other"])
SIZE = st.sampled_from([0, 0, 10, 120, MAX_TEXT])
ROOM = st.one_of(st.none(), st.integers(0, 1_500))
PLACE = st.integers(0, 20)

APPEND = st.tuples(st.just("append"), AUDIENCE, TYPE, SIZE)
REVOKE = st.tuples(st.just("revoke"), st.sampled_from([*PEOPLE, None]))
DELIVER = st.tuples(st.just("deliver"), st.integers(1, 8))
SEND = st.tuples(st.just("send"))
BEAT = st.tuples(st.just("beat"))
MAKE_ROOM = st.tuples(st.just("room"), PLACE, ROOM)
TURN = st.tuples(st.just("turn"))
BREAK = st.tuples(st.just("break"), PLACE)
ACTION = st.one_of(APPEND, APPEND, DELIVER, SEND, BEAT, MAKE_ROOM, TURN, BREAK, REVOKE)
ACTIONS = st.lists(ACTION, max_size=5)


class FakeEpoll:
    """Knows who waits for room, and who has something to say."""

    def __init__(self) -> None:
        self.masks: dict[int, int] = {}
        self.sockets: dict[int, FakeSocket] = {}

    def register(self, fd: int, mask: int) -> None:
        self.masks[fd] = mask

    modify = register

    def unregister(self, fd: int) -> None:
        del self.masks[fd], self.sockets[fd]

    def poll(self, _timeout_s: float, most: int) -> list[tuple[int, int]]:
        found = [(fd, self._now(mask, self.sockets[fd])) for fd, mask in self.masks.items()]
        return [(fd, events) for fd, events in found if events][:most]

    def _now(self, mask: int, connection: FakeSocket) -> int:
        writable = select.EPOLLOUT if connection.room != 0 else 0
        readable = select.EPOLLIN if connection.incoming else 0
        return mask & (writable | readable)


@dataclass
class Client:
    """One person's program: it remembers the last whole id, and checks each frame against the log it reads."""

    person: Person
    topics: str | None
    is_modern: bool = True
    """Speaks HTTP/1.1, and gets chunks over a wire."""
    cursor: str | None = None
    log: list[Event] = field(default_factory=list)
    begun: StartPosition = field(default_factory=lambda: StartPosition(0, 0))
    frames: int = 0
    ended: bool = True
    wire: SocketSubscriber | None = None
    socket: FakeSocket | None = None
    feed: Iterator[bytes] | None = None
    dechunker: Dechunker | None = None
    read: int = 0
    parser: Parser = field(default_factory=Parser)

    @property
    def who(self) -> Reader:
        return reader(self.person, self.begun.head, self.topics)

    def begin(self, log: list[Event], begun: StartPosition) -> None:
        self.log, self.begun = log, begun
        self.parser, self.frames, self.ended, self.read = Parser(), 0, False, 0
        self.wire = self.socket = self.feed = self.dechunker = None
        self.at = begun.after

    def hear(self, data: bytes) -> None:
        for frame in self.parser.feed(data):
            assert not self.ended, f"{frame} behind the goodbye"
            self._check(frame)
            self.frames += 1

    def _check(self, frame: Frame) -> None:
        assert (frame.event == "hello") == (self.frames == 0)
        match frame.event:
            case "hello" | "heartbeat":
                assert frame.id is None
            case "reset":
                assert self.frames == 1
                assert (frame.json()["reason"], frame.id) == (self.begun.reset, str(self.begun.head))
                self.cursor = frame.id
            case "bye":
                self.ended = True
            case _:
                assert self.frames > 1 or self.begun.reset is None, "no reset came"
                self._check_event(frame)

    def _check_event(self, frame: Frame) -> None:
        due = self.next_due()
        assert due is not None, f"{frame.id} is nothing for {self}"
        assert (frame.id, frame.event, frame.json()["data"]) == (str(due.id), due.type, due.data)
        revoked_at = next((one.id for one in self.log if self._ends(one)), None)
        assert revoked_at is None or due.id < revoked_at, "sent behind a revocation"
        self.at, self.cursor = due.id, frame.id

    def next_due(self) -> Event | None:
        who = self.who
        fits = (one for one in self.log if one.id > self.at)
        return next((e for e in fits if e.audience in who.viewer.audiences and who.topics.matches(e.type)), None)

    def _ends(self, one: Event) -> bool:
        return one.audience == CONTROL and one.data["user"] == self.person.name and one.id > self.begun.head


class Delivery(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patches = ExitStack()
        self.epoll = FakeEpoll()
        for patch in (
            mock.patch("app.stream.chunks.MAX_CHUNK_BYTES", CHUNK_BYTES),
            mock.patch("app.stream.queue_subscriber.MAX_QUEUED_BYTES", QUEUE_BYTES),
            mock.patch("app.stream.generator_transport.LOG_RETRY_S", 0.0),
            mock.patch("app.stream.catchup.RETRY_S", 0.0),
            mock.patch("app.stream.socket_loop._epoll_factory", return_value=self.epoll),
            mock.patch("app.stream.replay.log"),
            mock.patch("app.stream.hub.log_stream_event"),
        ):
            self.patches.enter_context(patch)
        self.log: list[Event] = []
        self.floor = 0
        self.hub = Hub(lambda _user: True, RingBuffer(RING_EVENTS))
        self.rounds = Broadcaster(self.hub)
        self.replay = Replay(self.hub, self.look)
        self.catchup = CatchUp(self.hub, self.replay)
        self.pulse = Heartbeats(self.hub, 2 * WHEEL_TICK_S, lambda: False)
        self.wires = SocketLoop(self.hub, self.catchup, self.pulse, LIFETIME_S)
        self.clients: list[Client] = []
        self.before: list[Any] = []
        self.behind: list[Any] = []
        self.away = False

    # What happens in the world.

    @rule(action=ACTION)
    def something_happens(self, action: Any) -> None:
        self.act([action])

    @rule(before=ACTIONS, behind=ACTIONS, away=st.sampled_from([False, False, False, True]))
    def plan_for_the_next_look_at_the_log(self, before: list[Any], behind: list[Any], away: bool) -> None:
        self.before, self.behind, self.away = before, behind, away

    @rule(sizes=st.lists(SIZE, min_size=RING_EVENTS + 1, max_size=3 * RING_EVENTS))
    def more_comes_at_once_than_the_ring_holds(self, sizes: list[int]) -> None:
        self.act([("append", EVERYONE, "job.a", size) for size in sizes])
        self.act([("deliver", len(sizes))])

    @precondition(lambda self: self.log)
    @rule(keep=st.integers(0, 8))
    def old_events_are_pruned(self, keep: int) -> None:
        """Retention is longer than any open stream stands behind."""
        needed = [one.cursor for one in self.hub.snapshot()]
        self.floor = max(self.floor, min([self.head() - keep, *needed]))

    @precondition(lambda self: self.hub.cursor > self.floor)
    @rule(lost=st.integers(1, 10))
    def an_older_log_is_put_back(self, lost: int) -> None:
        self.log = self.log[: max(self.floor, self.hub.cursor - lost)]
        self.hub.deliver((), self.head())

    @rule()
    def thirty_seconds_pass(self) -> None:
        self.pulse._check_all_timeouts(time.monotonic() + SLOW_READER_TIMEOUT_S + 1)

    @rule()
    def lifetimes_pass(self) -> None:
        self.pulse._check_all_timeouts(time.monotonic() + 2 * LIFETIME_S)

    @rule()
    def the_worker_says_goodbye_to_all(self) -> None:
        self.hub.drain()
        self.hub.draining = False

    # What clients do.

    @precondition(lambda self: len(self.clients) < 5)
    @rule(
        person=st.sampled_from(PEOPLE),
        topics=st.sampled_from(TOPICS),
        is_modern=st.sampled_from([True, True, False]),
        over_wire=st.booleans(),
        room=ROOM,
    )
    def a_client_comes(
        self, person: Person, topics: str | None, is_modern: bool, over_wire: bool, room: int | None
    ) -> None:
        self.clients.append(Client(person, topics, is_modern))
        self.connect(self.clients[-1], over_wire, room)

    @precondition(lambda self: self.clients)
    @rule(place=PLACE, over_wire=st.booleans(), room=ROOM)
    def a_client_resumes(self, place: int, over_wire: bool, room: int | None) -> None:
        client = self.clients[place % len(self.clients)]
        self.leave(client)
        self.connect(client, over_wire, room)

    @precondition(lambda self: self.clients)
    @rule(place=PLACE, cursor=st.sampled_from(["0", "1", "5", "99", "x"]))
    def a_client_comes_with_an_odd_cursor(self, place: int, cursor: str) -> None:
        client = self.clients[place % len(self.clients)]
        self.leave(client)
        client.cursor = cursor
        self.connect(client, over_wire=True, room=None)

    @precondition(lambda self: self.clients)
    @rule(place=PLACE, bytes_=st.one_of(st.none(), st.integers(1, 600)))
    def a_client_reads(self, place: int, bytes_: int | None) -> None:
        self.hear(self.clients[place % len(self.clients)], bytes_)

    @rule()
    def the_loop_looks_at_its_sockets(self) -> None:
        self.wires._poll()

    # What must hold.

    @invariant()
    def a_stalled_wire_holds_the_rest_of_one_chunk(self) -> None:
        held = [one for one in self.wires.all() if one.blocked_since is not None]
        assert all(len(one._rest or b"") <= max(CHUNK_BYTES, FRAME_BYTES) for one in held)
        assert not any(one.live for one in held)
        assert self.hub.counters.slow_now == len(held)

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        assert len(self.hub.ring) <= RING_EVENTS

    def teardown(self) -> None:
        try:
            self.before, self.behind, self.away = [], [], False
            self.settle()
            for client in self.clients:
                if client.ended or self.is_over(client):
                    self.leave(client)
                    self.connect(client, over_wire=True, room=None)
            self.settle()
            for client in self.clients:
                assert client.next_due() is None, f"{client} has missed it"
                self.leave(client)
            self.wires._poll()
            assert (len(self.hub), self.hub.counters.slow_now) == (0, 0)
            assert not +self.hub.counters.open
            assert not self.epoll.masks
        finally:
            self.patches.close()

    def settle(self) -> None:
        """All that is on its way arrives."""
        self.act([("deliver", self.head())])
        for client in self.clients:
            if client.socket is not None:
                client.socket.room = None
        for _ in range(2 * len(self.log) + 20):
            self.rounds.send()
            self.wires._poll()
            self.turn()
            for client in self.clients:
                self.hear(client, None)

    # How.

    def connect(self, client: Client, over_wire: bool, room: int | None) -> None:
        begun = resolve_start(client.cursor, self.head(), self.floor)
        client.begin(self.log, begun)
        if client.cursor is None:
            client.cursor = str(begun.after)
        made = opening(client.who, begun)
        if not over_wire:
            client.feed = iter(GeneratorStream(self.hub, made, self.replay, StreamTiming(0, 1e9), lambda: False))
            self.hear(client, None)
            return
        client.socket = FakeSocket(room)
        client.dechunker = Dechunker() if client.is_modern else None
        self.epoll.sockets[client.socket.fileno()] = client.socket
        client.wire = self.wires.open(
            cast(Connection, client.socket), b"", made, lambda: None, in_http_chunks=client.is_modern
        )

    def hear(self, client: Client, bytes_: int | None) -> None:
        if client.feed is not None:
            data = next(client.feed, None)
            client.ended = client.ended or data is None
            client.hear(data or b"")
            assert client.parser.is_between_frames
        elif client.socket is not None:
            data = client.socket.taken[client.read :][:bytes_]
            client.read += len(data)
            if client.dechunker is not None:
                data = client.dechunker.feed(data)
                assert client.dechunker.rest == b"", "bytes behind the last chunk"
            client.hear(data)
            if client.dechunker is not None and client.dechunker.ended:
                assert client.ended, "a last chunk without a goodbye"

    def is_over(self, client: Client) -> bool:
        return client.wire is not None and client.wire.fd < 0

    def leave(self, client: Client) -> None:
        client.ended = True
        if client.feed is not None:
            client.feed.close()  # type: ignore[attr-defined]  # it is a generator
        elif client.socket is not None:
            client.socket.incoming.append(b"")

    def act(self, actions: list[Any]) -> None:
        for kind, *rest in actions:
            getattr(self, kind if kind != "break" else "break_off")(*rest)

    def append(self, audience: str, event_type: str, size: int) -> None:
        self.log.append(event(self.head() + 1, event_type, audience, text="x" * size))

    def revoke(self, person: Person | None) -> None:
        self.log.append(
            event(self.head() + 1, "control.user_changed", CONTROL, user=person.name if person else "nobody")
        )

    def deliver(self, count: int) -> None:
        page = self.log[self.hub.cursor : self.hub.cursor + count]
        if page:
            self.hub.deliver(page, page[-1].id)

    def send(self) -> None:
        self.rounds.send()

    def beat(self) -> None:
        self.pulse._send_heartbeats()

    def room(self, place: int, room: int | None) -> None:
        connections = [client.socket for client in self.clients if client.socket is not None]
        if connections:
            connections[place % len(connections)].room = room
            self.wires._poll()

    def turn(self) -> None:
        if self.catchup._waiting.empty():
            return
        wire = self.catchup._waiting.get()
        assert wire is not None
        wire.is_queued = False
        try:
            self.catchup._serve(wire)
        except LogUnavailable:
            self.catchup.add(wire)

    def break_off(self, place: int) -> None:
        connections = [client.socket for client in self.clients if client.socket is not None]
        if connections:
            connections[place % len(connections)].gone = ConnectionResetError()

    def head(self) -> int:
        return len(self.log)

    def look(self, cursor: int, audiences: Collection[str]) -> EventPage:
        before, behind, away = self.before, self.behind, self.away
        self.before, self.behind, self.away = [], [], False
        self.act(before)
        if away:
            raise OSError("the database is away")
        kept = self.log[max(cursor, self.floor) :]
        found = [one for one in kept if one.audience in audiences][:PAGE]
        full = len(found) == PAGE
        page = EventPage(found, found[-1].id if full else max(cursor, self.head()), full)
        self.act(behind)
        return page


QUICK = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def test_every_reader_gets_what_is_for_it_once_and_in_order() -> None:
    run_state_machine_as_test(Delivery, settings=QUICK)


@pytest.mark.long
def test_every_reader_gets_what_is_for_it_whatever_thousands_of_tries_think_of() -> None:
    run_state_machine_as_test(Delivery, settings=settings(QUICK, max_examples=3_000, stateful_step_count=80))

"""Readers on sockets that are behind: brought up to date in turn, once."""

import logging
from collections.abc import Callable, Collection

import pytest

from app.eventlog.reader import Event, EventPage
from app.stream import catchup
from app.stream.broadcaster import Broadcaster
from app.stream.catchup import CHUNKS_PER_TURN, CatchUp
from app.stream.formats import EventFormat
from app.stream.hub import Hub
from app.stream.replay import ReadLog, Replay
from app.stream.ring_buffer import RingBuffer
from app.stream.socket_transport import SocketSubscriber
from tests.stream import readers
from tests.stream.readers import FakeLog, FakeOwner, FakeSocket, add, control, events, ids_in
from tests.support.clock import own_time
from tests.support.waiting import wait_for


class Behind(FakeOwner):
    """Its wires are brought up to date by the thread that asks `run`."""

    def __init__(self, log: ReadLog, ring: RingBuffer | None = None) -> None:
        super().__init__()
        self.hub = Hub(lambda _user: True, ring)
        self.rounds = Broadcaster(self.hub)
        self.replay = Replay(self.hub, log)
        self.catchup = CatchUp(self.hub, self.replay)

    def catch_up(self, wire: SocketSubscriber) -> None:
        super().catch_up(wire)
        self.catchup.add(wire)

    def forget(self, wire: SocketSubscriber, reason: str) -> None:
        super().forget(wire, reason)
        self.hub.remove(wire, reason)

    def join(self, connection: FakeSocket, after: int = 0) -> SocketSubscriber:
        made = readers.wire(connection, self, after=after)
        add(self.hub, made)
        self.catch_up(made)
        return made

    def turn(self) -> SocketSubscriber | None:
        """One turn of whoever waits longest."""
        if self.catchup._waiting.empty():
            return None
        wire = self.catchup._waiting.get()
        assert wire is not None
        wire.is_queued = False
        self.catchup._serve(wire)
        return wire

    def run(self) -> None:
        while self.turn() is not None:
            pass


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it would have slept."""
    slept: list[float] = []
    own_time(monkeypatch, "app.stream.catchup", sleep=slept.append)
    return slept


def test_a_reader_is_read_to_from_the_log_and_goes_live() -> None:
    log = FakeLog(*events(1, 9), page=2)
    behind, connection = Behind(log), FakeSocket()
    behind.hub.deliver((), 9)
    made = behind.join(connection)
    behind.run()
    assert ids_in(connection.taken) == list(range(1, 10))
    assert (made.live, behind.hub.counters.deliveries) == (True, 9)


def test_one_with_much_to_read_lets_others_have_their_turn() -> None:
    log = FakeLog(*events(1, 40), page=2)
    behind = Behind(log)
    behind.hub.deliver((), 40)
    long, short = behind.join(FakeSocket()), behind.join(FakeSocket(), after=38)
    assert behind.turn() is long
    assert long.cursor == 2 * CHUNKS_PER_TURN
    assert behind.turn() is short
    assert short.live
    behind.run()
    assert (long.live, long.cursor) == (True, 40)


def test_a_reader_waits_at_most_once() -> None:
    behind = Behind(FakeLog())
    made = behind.join(FakeSocket())
    behind.catch_up(made)
    behind.catch_up(made)
    assert behind.catchup._waiting.qsize() == 1


def test_one_that_does_not_take_its_bytes_leaves_and_comes_again_when_it_drains() -> None:
    log = FakeLog(*events(1, 9), page=2)
    behind, connection = Behind(log), FakeSocket(room=5)
    behind.hub.deliver((), 9)
    made = behind.join(connection)
    behind.run()
    assert (made.cursor, made.live, log.reads) == (2, False, 1)
    connection.room = None
    made.on_writable()
    behind.run()
    assert ids_in(connection.taken) == list(range(1, 10))


@pytest.mark.parametrize("end", [lambda made: made.end("client-gone"), lambda made: made.close("drain")])
def test_one_that_ended_while_it_waited_is_left_alone(end: Callable[[SocketSubscriber], None]) -> None:
    log = FakeLog(*events(1, 3))
    behind, connection = Behind(log), FakeSocket()
    behind.hub.deliver((), 3)
    end(behind.join(connection))
    behind.run()
    assert (log.reads, ids_in(connection.taken)) == (0, [])


def test_a_revocation_on_the_way_ends_it_with_nothing_behind_it() -> None:
    log = FakeLog(*events(1, 2), control(3, "user_changed", user="alice"), *events(4, 5), page=2)
    behind, connection = Behind(log), FakeSocket()
    behind.hub.deliver((), 5)
    behind.join(connection)
    behind.run()
    assert ids_in(connection.taken) == [1, 2]
    assert behind.forgotten == ["revoked"]


class Slow:
    """A look at the log during which something happens, once."""

    def __init__(self, log: FakeLog) -> None:
        self._log = log
        self.meanwhile: Callable[[], object] | None = None

    def __call__(self, cursor: int, audiences: Collection[str]) -> EventPage:
        page = self._log(cursor, audiences)
        happens, self.meanwhile = self.meanwhile, None
        if happens:
            happens()
        return page


@pytest.mark.parametrize("end", [lambda made: made.end("client-gone"), lambda made: made.close("revoked")])
def test_one_that_ends_during_the_look_is_sent_nothing_more(end: Callable[[SocketSubscriber], None]) -> None:
    log = Slow(FakeLog(*events(1, 3)))
    behind, connection = Behind(log), FakeSocket()
    behind.hub.deliver((), 3)
    made = behind.join(connection)
    log.meanwhile = lambda: end(made)
    behind.run()
    assert ids_in(connection.taken) == []


def test_what_comes_during_the_look_is_sent_once() -> None:
    fake = FakeLog(*events(1, 3))
    log = Slow(fake)
    behind, connection = Behind(log), FakeSocket()
    behind.hub.deliver((), 3)
    behind.join(connection)

    def news() -> None:
        fake.events += events(4, 6)
        behind.hub.deliver(events(4, 6), 6)
        behind.rounds.send()

    log.meanwhile = news
    behind.run()
    behind.hub.deliver(events(7, 7), 7)
    behind.rounds.send()
    assert ids_in(connection.taken) == list(range(1, 8))


def test_one_that_a_heartbeat_stalls_and_drains_during_the_look_gets_nothing_twice() -> None:
    """It then waits for its turn again, while its turn is still under way."""
    log = Slow(FakeLog(*events(1, 3)))
    behind, connection = Behind(log), FakeSocket()
    behind.hub.deliver((), 3)
    made = behind.join(connection)

    def beat() -> None:
        connection.room = 5
        made.send_control(b"event: heartbeat\ndata: 1\n\n")
        connection.room = None
        made.on_writable()
        behind.run()

    log.meanwhile = beat
    behind.run()
    assert ids_in(connection.taken) == [1, 2, 3]
    assert made.live


def test_a_log_behind_the_tail_is_not_read_in_a_tight_loop(pauses: list[float]) -> None:
    """After an older file took the database's place the tail stands above its head."""
    log = FakeLog(*events(1, 3))
    behind = Behind(log)
    behind.hub.deliver((), 100)
    behind.join(FakeSocket(), after=3)
    behind.turn()
    assert pauses == [catchup.RETRY_S] * log.reads


def test_one_that_has_missed_nothing_goes_live_without_a_pause(pauses: list[float]) -> None:
    behind = Behind(FakeLog(*events(1, 3)))
    behind.hub.deliver((), 3)
    made = behind.join(FakeSocket(), after=3)
    behind.run()
    assert (made.live, pauses) == (True, [])


class TestRunning:
    def test_the_log_away_is_said_once_and_the_reader_goes_on_when_it_is_back(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        log = FakeLog(*events(1, 3))
        log.down = OSError("gone")
        behind, connection = Behind(log), FakeSocket()
        behind.hub.deliver((), 3)
        behind.join(connection)
        with caplog.at_level(logging.ERROR, "app.stream.replay"):
            behind.catchup.start()
            wait_for(lambda: log.reads > 3)
            assert behind.replay.log_is_away
            log.down = None
            wait_for(lambda: ids_in(connection.taken) == [1, 2, 3])
            wait_for(lambda: not behind.replay.log_is_away)
        behind.catchup.stop()
        assert caplog.text.count("cannot read the log") == 1

    def test_what_cannot_be_encoded_ends_its_reader_and_nobody_elses(self) -> None:
        def fails(_event: Event) -> bytes:
            raise LookupError("no such template")

        behind, broken, fine = Behind(FakeLog(*events(1, 3))), FakeSocket(), FakeSocket()
        behind.hub.deliver((), 3)
        made = readers.wire(broken, behind, readers.reader(event_format=EventFormat("broken", fails)))
        add(behind.hub, made)
        behind.catch_up(made)
        behind.join(fine)
        behind.catchup.start()
        wait_for(lambda: ids_in(fine.taken) == [1, 2, 3])
        behind.catchup.stop()
        assert (made.fd, behind.hub.counters.closes["error"]) == (-1, 1)
        assert not behind.replay.log_is_away

    def test_stopping_ends_its_threads(self) -> None:
        behind = Behind(FakeLog())
        behind.catchup.start()
        behind.catchup.stop()
        assert not any(thread.is_alive() for thread in behind.catchup._threads)

"""The parts put together in a process without an event loop; those with one are tested with a real worker."""

from collections.abc import Iterator

import pytest

from app.config import Settings
from app.eventlog.cursor import StartPosition
from app.stream.build_stream import StreamEngine
from app.stream.hub import Hub
from tests.stream.readers import FakeLog, event, events, opening, reader
from tests.support.sse_client import StreamReader


@pytest.fixture
def engine(settings: Settings) -> Iterator[StreamEngine]:
    hub = Hub(lambda _user: True)
    made = StreamEngine(hub, settings, FakeLog(*events(1, 3)), lambda: False)
    hub.deliver((), 3)
    made.start()
    yield made
    made.stop()


def opened(engine: StreamEngine, after: int) -> StreamReader:
    return StreamReader(iter(engine.open_generator(opening(reader(), StartPosition(after, 3)))))


def test_without_an_event_loop_it_takes_no_sockets(engine: StreamEngine) -> None:
    assert engine.socket_loop is None


def test_a_feed_replays_and_then_gets_what_is_new(engine: StreamEngine) -> None:
    with opened(engine, 1) as stream:
        assert [frame.id for frame in stream.frames(3)] == [None, "2", "3"]
        engine.hub.deliver([event(4)], 4)
        assert [frame.id for frame in stream.frames(1)] == ["4"]


def test_stopping_says_goodbye_to_all_and_takes_nobody_any_more(engine: StreamEngine) -> None:
    with opened(engine, 3) as stream:
        stream.frames(1)
        engine.stop()
        assert stream.rest()[-1].json() == {"reason": "drain", "poll": False}
    assert engine.hub.draining


def test_draining_waits_until_its_streams_have_left(settings: Settings) -> None:
    settings.drain_s = 1
    hub = Hub(lambda _user: True)
    engine = StreamEngine(hub, settings, FakeLog(), lambda: False)
    engine.start()
    with StreamReader(iter(engine.open_generator(opening(reader())))) as stream:
        stream.frames(1)
        engine.drain()
        assert len(hub) == 0
        assert stream.rest()[-1].json()["reason"] == "drain"
    engine.stop()


def test_a_heartbeat_says_that_the_log_cannot_be_read(settings: Settings) -> None:
    engine = StreamEngine(Hub(lambda _user: True), settings, FakeLog(), lambda: True)
    engine.start()
    with opened(engine, 3) as stream:
        assert stream.until("heartbeat")[-1].json()["degraded"] is True
    engine.stop()

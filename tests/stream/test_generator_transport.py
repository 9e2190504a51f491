"""One open stream from `hello` to `bye`, with a log and a clock of the test's own."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from app.eventlog.cursor import StartPosition
from app.stream import generator_transport as feeds
from app.stream.broadcaster import Broadcaster
from app.stream.generator_transport import GeneratorStream, StreamTiming
from app.stream.hub import Hub
from app.stream.replay import Replay
from app.stream.ring_buffer import RingBuffer
from app.stream.subscriber import Subscriber
from tests.stream.readers import FakeLog, control, event, events, opening, reader
from tests.support.cast import ALICE
from tests.support.machine import scaled
from tests.support.sse_client import Frame, parse

AT_ONCE = StreamTiming(0, 3600)


class Stream:
    """Steps through a feed; with no heartbeat interval every step yields at once."""

    def __init__(
        self,
        hub: Hub,
        log: FakeLog,
        start: StartPosition,
        rhythm: StreamTiming = AT_ONCE,
        degraded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._hub, self._rounds = hub, Broadcaster(hub)
        made = opening(reader(ALICE, start.head), start)
        replay = Replay(hub, log)
        feed = GeneratorStream(hub, made, replay, rhythm, lambda: degraded() or replay.log_is_away)
        self.chunks: Iterator[bytes] = iter(feed)

    @property
    def subscriber(self) -> Subscriber:
        (found,) = self._hub.snapshot()
        return found

    def step(self) -> list[Frame]:
        self._rounds.send()
        return parse(next(self.chunks))

    def events(self, steps: int) -> list[str]:
        """Ids of what came in the next steps, heartbeats left out."""
        return [frame.id or frame.event for _ in range(steps) for frame in self.step() if frame.event != "heartbeat"]


@pytest.fixture
def hub() -> Hub:
    return Hub(lambda _user: True)


@pytest.fixture(autouse=True)
def _quick_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "LOG_RETRY_S", 0.01)


def opened(
    hub: Hub, log: FakeLog, after: int, rhythm: StreamTiming = AT_ONCE, degraded: Callable[[], bool] = lambda: False
) -> Stream:
    """A stream over a log that the tail has read to its head before."""
    hub.deliver((), log.head)
    stream = Stream(hub, log, StartPosition(after, log.head), rhythm, degraded)
    assert [frame.event for frame in stream.step()] == ["hello"]
    return stream


def test_the_first_line_is_a_jittered_retry(hub: Hub) -> None:
    seen = set()
    for _ in range(20):
        first = next(Stream(hub, FakeLog(), StartPosition(0, 0)).chunks)
        assert first.startswith(b"retry: ")
        (frame,) = parse(first)
        assert frame.event == "hello"
        assert 1_500 <= (frame.retry or 0) <= 3_000
        seen.add(frame.retry)
    assert len(seen) > 1


def test_nothing_happens_before_the_first_step_and_nothing_stays_after_closing(hub: Hub) -> None:
    stream = Stream(hub, FakeLog(), StartPosition(0, 0))
    assert len(hub) == 0
    stream.step()
    assert len(hub) == 1
    stream.chunks.close()  # type: ignore[attr-defined]
    assert len(hub) == 0


def test_replay_then_live(hub: Hub) -> None:
    log = FakeLog(*events(1, 3))
    stream = opened(hub, log, after=1)
    assert stream.events(3) == ["2", "3"]
    hub.deliver([event(4)], 4)
    assert stream.events(2) == ["4"]


def test_long_replay_goes_page_by_page(hub: Hub) -> None:
    log = FakeLog(*events(1, 7), page=3)
    stream = opened(hub, log, after=0)
    assert [frame.id for frame in stream.step()] == ["1", "2", "3"]
    assert stream.events(8) == ["4", "5", "6", "7"]


def test_an_overflow_is_read_again_from_the_ring(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.stream.queue_subscriber.MAX_QUEUED_BYTES", 200)
    log, rounds = FakeLog(), Broadcaster(hub)
    stream = opened(hub, log, after=0)
    stream.events(2)
    for number in range(1, 51):
        hub.deliver([event(number)], number)
        rounds.send()
    assert not stream.subscriber.live
    assert stream.events(6) == [str(number) for number in range(1, 51)]
    assert (stream.subscriber.live, log.reads) == (True, 0)


def test_an_overflow_beyond_the_ring_is_read_again_from_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.stream.queue_subscriber.MAX_QUEUED_BYTES", 200)
    hub = Hub(lambda _user: True, RingBuffer(max_events=3))
    log, rounds = FakeLog(), Broadcaster(hub)
    stream = opened(hub, log, after=0)
    stream.events(2)
    log.events = events(1, 50)
    for number in range(1, 51):
        hub.deliver([event(number)], number)
        rounds.send()
    assert stream.events(6) == [str(number) for number in range(1, 51)]
    assert log.reads == 1


def test_a_reset_follows_hello_and_carries_the_heads_id(hub: Hub) -> None:
    hello, reset = Stream(hub, FakeLog(), StartPosition(9, 9, "pruned")).step()
    assert hello.event == "hello"
    assert (reset.event, reset.id, reset.json()) == ("reset", "9", {"reason": "pruned", "head": 9})


def test_heartbeats_have_no_id_and_tell_the_head_of_the_tail(hub: Hub) -> None:
    stream = opened(hub, FakeLog(event(4)), after=4)
    beat = stream.step()[-1]
    assert (beat.event, beat.id) == ("heartbeat", None)
    assert beat.json()["head"] == 4
    assert beat.json()["degraded"] is False
    assert set(beat.json()) == {"head", "timestamp", "degraded"}


def test_heartbeats_come_in_their_rhythm_and_not_in_bursts(hub: Hub) -> None:
    stream = opened(hub, FakeLog(), after=0, rhythm=StreamTiming(0.1, 3600))
    stream.step()
    time.sleep(0.35)  # the client took its time
    began = time.monotonic()
    stream.step()
    stream.step()
    assert time.monotonic() - began >= 0.09


def test_heartbeats_say_that_the_tail_cannot_read(hub: Hub) -> None:
    stream = opened(hub, FakeLog(), after=0, degraded=lambda: True)
    assert stream.step()[-1].json()["degraded"] is True


def test_the_stream_stays_open_while_the_log_is_away_and_goes_on_where_it_was(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    log = FakeLog(event(1), event(2))
    stream = opened(hub, log, after=0)
    log.down = OSError("gone")
    with caplog.at_level(logging.ERROR, "app.stream.replay"):
        beats = [frame for _ in range(3) for frame in stream.step()]
    assert [(beat.event, beat.json()["degraded"]) for beat in beats] == [("heartbeat", True)] * 3
    assert caplog.text.count("cannot read the log") == 1
    log.down = None
    assert stream.events(2) == ["1", "2"]
    assert stream.step()[-1].json()["degraded"] is False


def test_a_log_behind_the_tail_is_not_read_in_a_tight_loop(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an older file took the database's place the tail stands above its head."""
    monkeypatch.setattr(feeds, "LOG_RETRY_S", 0.1)
    log = FakeLog(event(1))
    stream = opened(hub, log, after=1, rhythm=StreamTiming(0.5, 3600))
    hub.cursor = 100
    assert stream.step()[-1].event == "heartbeat"
    assert log.reads <= 6


@pytest.mark.parametrize(
    ("reason", "poll"), [("drain", False), ("revoked", False), ("flag-off", True), ("slow", False)]
)
def test_bye_gives_the_reason_and_whether_to_poll(hub: Hub, reason: str, poll: bool) -> None:
    stream = opened(hub, FakeLog(), after=0)
    stream.subscriber.close(reason)  # type: ignore[arg-type]
    (bye,) = stream.step()
    assert (bye.event, bye.id, bye.json()) == ("bye", None, {"reason": reason, "poll": poll})
    assert list(stream.chunks) == []
    assert len(hub) == 0


def test_a_lifetime_ends_within_its_jitter(hub: Hub) -> None:
    began = time.monotonic()
    stream = opened(hub, FakeLog(), after=0, rhythm=StreamTiming(30, 0.2))
    (bye,) = stream.step()
    assert bye.json() == {"reason": "lifetime", "poll": False}
    assert 0.15 <= time.monotonic() - began < scaled(5)


def test_a_revocation_met_in_replay_ends_the_stream_and_nothing_behind_it_goes_out(hub: Hub) -> None:
    log = FakeLog(*events(1, 2), control(3, "user_changed", user="alice"), event(4), page=2)
    hub.deliver((), 4)
    stream = Stream(hub, log, StartPosition(0, 2))
    frames = [frame for part in stream.chunks for frame in parse(part) if frame.event != "heartbeat"]
    assert [frame.id for frame in frames] == [None, "1", "2", None]
    assert frames[-1].json()["reason"] == "revoked"


def test_an_old_revocation_met_in_replay_ends_nothing(hub: Hub) -> None:
    log = FakeLog(control(1, "user_changed", user="alice"), event(2))
    assert opened(hub, log, after=0).events(3) == ["2"]


def test_open_and_close_are_logged_with_user_cursor_and_reason(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "beacon.stream"):
        stream = opened(hub, FakeLog(event(3)), after=3)
        stream.subscriber.close("drain")
        assert list(stream.chunks)
    opening, closing = (record.getMessage() for record in caplog.records)
    assert opening.startswith("[SSE] open ")
    assert opening.endswith(" user=alice after=3 head=3")
    assert closing.startswith("[SSE] close ")
    assert " user=alice reason=drain last=3 " in closing


def test_a_client_that_goes_is_logged_too(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "beacon.stream"):
        opened(hub, FakeLog(), after=0).chunks.close()  # type: ignore[attr-defined]
    assert "reason=client-gone" in caplog.text


@pytest.mark.parametrize("ring", [RingBuffer(), RingBuffer(max_events=20)], ids=["within the ring", "beyond the ring"])
def test_a_real_tail_rounds_and_reader_on_their_own_threads_lose_and_repeat_nothing(
    ring: RingBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.stream.queue_subscriber.MAX_QUEUED_BYTES", 2_000)
    hub = Hub(lambda _user: True, ring)
    total, log = 3_000, FakeLog(page=50)
    stream = opened(hub, log, after=0, rhythm=StreamTiming(0.05, 3600))

    def tail() -> None:
        for number in range(1, total + 1):
            log.events.append(event(number))
            if number % 7 == 0 or number == total:
                hub.deliver(log.events[hub.cursor :], number)

    rounds, thread = Broadcaster(hub), threading.Thread(target=tail)
    rounds.start()
    thread.start()
    got: list[str] = []
    deadline = time.monotonic() + scaled(30)
    while len(got) < total and time.monotonic() < deadline:
        got += [frame.id for frame in parse(next(stream.chunks)) if frame.id]
    thread.join(scaled(10))
    rounds.stop()
    assert got == [str(number) for number in range(1, total + 1)]

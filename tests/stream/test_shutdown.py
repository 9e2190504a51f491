"""The order in which a worker ends, on a clock of the test's own."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from app.stream.hub import Hub
from app.stream.queue_subscriber import QueuedSubscriber
from app.stream.shutdown import CHECK_INTERVAL_S, CLOSES_PER_S, READINESS_NOTICE_S, GracefulShutdown
from app.stream.subscriber import CloseReason
from tests.stream.readers import add, reader, subscriber
from tests.support.clock import own_time


class Clock:
    """Time passes only where somebody sleeps; `on_sleep` sees each of them."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.on_sleep: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.on_sleep()

    @property
    def passed_s(self) -> float:
        return self.now - 1_000.0


class Leaving(QueuedSubscriber):
    """Leaves as soon as it is told goodbye, or never."""

    def __init__(self, hub: Hub, clock: Clock, stays: bool = False) -> None:
        super().__init__(reader(), 0)
        self._hub, self._clock, self._stays = hub, clock, stays
        self.told_at: float | None = None

    def close(self, reason: CloseReason) -> None:
        super().close(reason)
        self.told_at = self._clock.passed_s
        if not self._stays:
            self._hub.remove(self, reason)


@pytest.fixture
def hub() -> Hub:
    return Hub(lambda _user: True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    own_time(monkeypatch, "app.stream.shutdown", monotonic=made)
    return made


def open_streams(hub: Hub, clock: Clock, count: int, stays: bool = False) -> list[Leaving]:
    made = [Leaving(hub, clock, stays) for _ in range(count)]
    for one in made:
        add(hub, one)
    return made


def test_readiness_goes_off_first_and_streams_end_after_the_load_balancer_has_looked(hub: Hub, clock: Clock) -> None:
    (stream,) = open_streams(hub, clock, 1)
    seen: list[tuple[bool, str | None]] = []
    clock.on_sleep = lambda: seen.append((hub.draining, stream.close_reason))
    GracefulShutdown(hub, 30, clock.sleep).run()
    assert seen[0] == (True, None)
    assert (stream.close_reason, stream.told_at) == ("drain", READINESS_NOTICE_S)


def test_a_worker_without_streams_ends_after_that_look(hub: Hub, clock: Clock) -> None:
    GracefulShutdown(hub, 30, clock.sleep).run()
    assert clock.passed_s == READINESS_NOTICE_S


def test_a_short_drain_waits_shorter(hub: Hub, clock: Clock) -> None:
    GracefulShutdown(hub, 5, clock.sleep).run()
    assert clock.passed_s == 0.5


def test_goodbyes_are_spread_in_an_order_of_chance(hub: Hub, clock: Clock) -> None:
    streams = open_streams(hub, clock, 1_000)
    GracefulShutdown(hub, 30, clock.sleep).run()
    told = [one.told_at or 0 for one in streams]
    assert told != sorted(told)
    steps = sorted(told)
    assert steps[0] == READINESS_NOTICE_S
    assert steps[-1] == pytest.approx(READINESS_NOTICE_S + 1_000 / CLOSES_PER_S, abs=0.01)
    assert max(b - a for a, b in pairwise(steps)) < 0.01


def test_many_streams_are_told_faster_so_that_half_the_time_is_left_for_them(hub: Hub, clock: Clock) -> None:
    open_streams(hub, clock, 3_000)
    GracefulShutdown(hub, 2, clock.sleep).run()
    assert clock.passed_s <= 0.2 + 1 + CHECK_INTERVAL_S


def test_it_waits_for_those_who_have_not_left_but_not_beyond_its_time(hub: Hub, clock: Clock) -> None:
    open_streams(hub, clock, 3, stays=True)
    GracefulShutdown(hub, 10, clock.sleep).run()
    assert 10 <= clock.passed_s <= 10 + 2 * CHECK_INTERVAL_S
    assert len(hub) == 3


def test_it_ends_as_soon_as_the_last_one_has_left(hub: Hub, clock: Clock) -> None:
    (late,) = open_streams(hub, clock, 1, stays=True)
    clock.on_sleep = lambda: (clock.passed_s > 4 and hub.remove(late, "drain")) and None
    GracefulShutdown(hub, 30, clock.sleep).run()
    assert 4 < clock.passed_s < 4 + 2 * CHECK_INTERVAL_S


def test_what_is_left_is_counted_all_the_way(hub: Hub, clock: Clock) -> None:
    open_streams(hub, clock, 2)
    open_streams(hub, clock, 1, stays=True)
    left: list[int] = []
    clock.on_sleep = lambda: left.append(hub.counters.drain_left)
    GracefulShutdown(hub, 5, clock.sleep).run()
    assert hub.counters.draining == 1
    assert left[0] == 3
    assert left[-1] == hub.counters.drain_left == 1


def test_a_stream_that_is_already_told_keeps_its_reason(hub: Hub, clock: Clock) -> None:
    stream = subscriber()
    add(hub, stream)
    stream.close("revoked")
    clock.on_sleep = lambda: hub.remove(stream, "revoked") and None
    GracefulShutdown(hub, 5, clock.sleep).run()
    assert stream.close_reason == "revoked"

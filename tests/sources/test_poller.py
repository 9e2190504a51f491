"""The loops: who polls, how often, what ends them, and what does not."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from flask import Flask

from app.db import now_epoch, write
from app.infra.lease import Lease, LeaseLost, LeaseRow
from app.sources.poller import JITTER, MAX_BACK_OFF_S, Poller, PollResult, back_off_s, pause_s
from tests.support.machine import scaled
from tests.support.waiting import wait_for

TICK_S = 0.02


@dataclass(frozen=True)
class Named:
    id: str
    url: str = ""


@dataclass
class Observer:
    """By hand: writes down what it is asked, and answers what a test tells it to."""

    outcome: PollResult = field(default_factory=lambda: PollResult(answered=True))
    seen: list[Named] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    silences: list[float] = field(default_factory=list)
    ticks: int = 0
    at_once: int = 0
    most_at_once: int = 0
    hold: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.hold.set()

    def observe(self, service: Named) -> PollResult:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.seen.append(service)
        self.times.append(time.monotonic())
        try:
            self.hold.wait(scaled(5))
            if self.error is not None:
                raise self.error
            return self.outcome
        finally:
            self.at_once -= 1

    def note_silence(self, service: Named) -> PollResult:
        self.silences.append(time.monotonic())
        return PollResult(answered=False)

    def tick(self) -> None:
        self.ticks += 1

    def polls(self, service_id: str) -> int:
        return sum(service.id == service_id for service in self.seen)


@dataclass
class Registry:
    services: Sequence[Named]

    def watched(self) -> Sequence[Named]:
        return self.services


@contextmanager
def polling(
    leased: Flask, observer: Observer, services: Registry, interval_s: float = 60, lease: Lease | None = None
) -> Iterator[Poller[Named]]:
    poller = Poller(
        lease or Lease(),
        services.watched,
        observer,
        interval_s,
        context=leased.app_context,
        tick_s=TICK_S,
        renew_every_s=TICK_S,
    )
    poller.start()
    try:
        yield poller
    finally:
        observer.hold.set()
        poller.stop()


def test_every_service_is_polled_again_and_again(leased: Flask) -> None:
    observer = Observer()
    with polling(leased, observer, Registry([Named("a"), Named("b")]), interval_s=0.02):
        wait_for(lambda: observer.polls("a") >= 3 and observer.polls("b") >= 3)


def test_a_slow_poll_is_never_joined_by_a_second_one(leased: Flask) -> None:
    observer = Observer()
    observer.hold.clear()
    with polling(leased, observer, Registry([Named("a")]), interval_s=0.01) as poller:
        wait_for(lambda: observer.at_once == 1)
        for _ in range(5):
            poller.poll_now("a")
        ticks = observer.ticks
        wait_for(lambda: observer.ticks > ticks + 5)
        assert observer.polls("a") == 1
        observer.hold.set()
        wait_for(lambda: observer.polls("a") > 3)
    assert observer.most_at_once == 1


def test_one_slow_service_does_not_hold_up_another(leased: Flask) -> None:
    stuck = threading.Event()

    class Mixed(Observer):
        def observe(self, service: Named) -> PollResult:
            if service.id == "stuck":
                stuck.wait(scaled(5))
            return super().observe(service)

    observer = Mixed()
    with polling(leased, observer, Registry([Named("stuck"), Named("fine")]), interval_s=0.02):
        wait_for(lambda: observer.polls("fine") >= 3)
        assert observer.polls("stuck") == 0
        stuck.set()


def test_a_poke_polls_at_once(leased: Flask) -> None:
    observer = Observer()
    with polling(leased, observer, Registry([Named("a")])) as poller:
        wait_for(lambda: observer.polls("a") == 1)
        poller.poll_now("a")
        wait_for(lambda: observer.polls("a") == 2)


def test_services_that_come_and_go_are_noticed(leased: Flask) -> None:
    observer, registry = Observer(), Registry([Named("a")])
    with polling(leased, observer, registry, interval_s=0.02):
        wait_for(lambda: observer.polls("a") > 0)
        registry.services = [Named("b")]
        wait_for(lambda: observer.polls("b") > 0)
        wait_for(lambda: not has_loop("a"))
        assert has_loop("b")


def test_a_service_with_new_settings_is_polled_with_them_by_the_same_loop(leased: Flask) -> None:
    observer, registry = Observer(), Registry([Named("a", "old")])
    with polling(leased, observer, registry, interval_s=0.02):
        wait_for(lambda: Named("a", "old") in observer.seen)
        registry.services = [Named("a", "new")]
        wait_for(lambda: Named("a", "new") in observer.seen)
    assert observer.most_at_once == 1


def test_a_service_that_returns_waits_for_its_old_loop_to_end(leased: Flask) -> None:
    observer, registry = Observer(), Registry([Named("a")])
    observer.hold.clear()
    with polling(leased, observer, registry, interval_s=0.01):
        wait_for(lambda: observer.at_once == 1)
        registry.services = []
        ticks = observer.ticks
        wait_for(lambda: observer.ticks > ticks + 2)
        registry.services = [Named("a")]
        wait_for(lambda: observer.ticks > ticks + 5)
        assert observer.polls("a") == 1
        observer.hold.set()
        wait_for(lambda: observer.polls("a") > 2)
    assert observer.most_at_once == 1


def test_a_failing_observer_does_not_end_the_loop(leased: Flask) -> None:
    observer = Observer(error=RuntimeError("a mistake"))
    with polling(leased, observer, Registry([Named("a")]), interval_s=0.01):
        wait_for(lambda: observer.polls("a") >= 3)


def test_a_registry_that_cannot_be_read_does_not_end_the_poller(leased: Flask) -> None:
    observer, registry = Observer(), Registry([Named("a")])

    class Broken(Registry):
        failures = 3

        def watched(self) -> Sequence[Named]:
            if self.failures:
                self.failures -= 1
                raise OSError("the database is away")
            return registry.services

    with polling(leased, observer, Broken([]), interval_s=0.01):
        wait_for(lambda: observer.polls("a") > 0)


def test_a_service_that_fails_is_polled_less_and_less_until_it_answers(leased: Flask) -> None:
    observer = Observer(outcome=PollResult(answered=False))
    with polling(leased, observer, Registry([Named("a")]), interval_s=0.02):
        wait_for(lambda: len(observer.times) >= 5)
        observer.outcome = PollResult(answered=True)
        answered = len(observer.times)
        wait_for(lambda: len(observer.times) >= answered + 5)
    assert observer.times[4] - observer.times[0] >= 0.9 * (0.04 + 0.08 + 0.16 + 0.32)
    assert min(b - a for a, b in zip(observer.times[answered:], observer.times[answered + 1 :], strict=False)) < 0.3


def test_silence_is_looked_at_even_while_no_poll_is_due(leased: Flask) -> None:
    observer = Observer(outcome=PollResult(answered=False, silent_in_s=0.05))
    began = time.monotonic()
    with polling(leased, observer, Registry([Named("a")]), interval_s=60):
        wait_for(lambda: len(observer.silences) == 1)
    assert observer.silences[0] - began >= 0.05
    assert observer.polls("a") == 1, "the wait for the next poll was cut short"


def test_only_the_holder_of_the_lease_polls_and_another_takes_over(leased: Flask) -> None:
    first, second = Observer(), Observer()
    registry = Registry([Named("a")])
    with polling(leased, first, registry, interval_s=0.02) as holding:
        wait_for(lambda: holding.is_polling)
        with polling(leased, second, registry, interval_s=0.02) as waiting:
            wait_for(lambda: first.polls("a") > 5)
            assert not waiting.is_polling
            assert second.seen == []
            holding.stop()
            wait_for(lambda: second.polls("a") > 0)
            assert waiting.is_polling


def test_a_poller_whose_lease_was_taken_stops_polling(leased: Flask) -> None:
    observer = Observer()
    with polling(leased, observer, Registry([Named("a")]), interval_s=0.02) as poller:
        wait_for(lambda: observer.polls("a") > 0)
        with write() as session:
            taken = {"holder": "another", "fence": LeaseRow.fence + 1, "expires_at": now_epoch() + 60}
            session.execute(sa.update(LeaseRow).values(taken))
        wait_for(lambda: not poller.is_polling)
        wait_for(lambda: not has_loop("a"))


def test_a_loop_that_lost_the_lease_ends_and_begins_anew(leased: Flask) -> None:
    observer = Observer(error=LeaseLost("gone"))
    with polling(leased, observer, Registry([Named("a")])):
        wait_for(lambda: observer.polls("a") >= 2)


def test_stopping_gives_the_lease_back_and_ends_every_loop(leased: Flask) -> None:
    observer, before = Observer(), threading.active_count()
    with polling(leased, observer, Registry([Named("a"), Named("b")])) as poller:
        wait_for(lambda: len(observer.seen) == 2)
        poller.stop()
        assert not poller.is_polling
        assert Lease().try_acquire()
    assert threading.active_count() == before


def test_stopping_does_not_wait_for_a_poll_that_hangs(leased: Flask) -> None:
    observer = Observer()
    observer.hold.clear()
    with polling(leased, observer, Registry([Named("a")])) as poller:
        wait_for(lambda: observer.at_once == 1)
        began = time.monotonic()
        poller.stop(within_s=0.2)
        assert time.monotonic() - began < scaled(5)
        assert Lease().try_acquire(), "the lease was kept for the sake of a poll that hangs"


@pytest.mark.parametrize(("failures", "expected"), [(0, 5), (1, 10), (2, 20), (3, 40), (4, 60), (10, 60), (10_000, 60)])
def test_failures_double_the_wait_up_to_a_minute(failures: int, expected: float) -> None:
    waits = [back_off_s(5, failures) for _ in range(200)]
    assert expected * 0.9 <= min(waits)
    assert max(waits) <= expected * 1.1
    assert max(waits) - min(waits) > expected * 0.1, "without jitter all services are polled at once"


def test_a_longer_interval_is_not_shortened_by_failures() -> None:
    assert back_off_s(300, 3) >= 300 * 0.9 > MAX_BACK_OFF_S


@pytest.mark.parametrize(
    ("took", "failures", "least", "most"),
    [(0.1, 0, 4.9, 4.9), (3, 0, 2, 2), (4.5, 0, 1.25, 1.25), (60, 0, 1.25, 1.25), (3, 1, 10, 10)],
    ids=["quick", "slow", "nearly an interval", "longer than an interval", "failing"],
)
def test_the_interval_is_from_poll_to_poll_and_a_slow_service_gets_a_pause(
    took: float, failures: int, least: float, most: float
) -> None:
    waits = [pause_s(5, failures, took) for _ in range(200)]
    jitter = 5 * JITTER * (1 << failures)
    assert min(waits) >= max(1.25, least - jitter)
    assert max(waits) <= most + jitter


def has_loop(service_id: str) -> bool:
    return f"beacon-poll-{service_id}" in {thread.name for thread in threading.enumerate()}

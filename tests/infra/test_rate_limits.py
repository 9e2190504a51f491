"""Rates: a user who asks too often is told so, for a second or two, and nobody else is."""

import threading
import time

import pytest

from app.config import Settings
from app.infra import rate_limits
from app.infra.problems import Problem
from app.infra.rate_limits import UserRateLimit
from tests.support.waiting import wait_for


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as one number to set; it stands still otherwise."""
    now = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def hits(rate: UserRateLimit, user: str, times: int) -> int:
    """How many of so many were let through."""
    passed = 0
    for _ in range(times):
        try:
            rate.hit(user)
        except Problem:
            continue
        passed += 1
    return passed


def test_hits_above_the_rate_are_refused_with_what_to_do(clock: list[float]) -> None:
    rate = UserRateLimit(3, "attempts to open a stream", "BEACON_CONNECT_RATE_PER_USER")
    assert hits(rate, "alice", 3) == 3
    with pytest.raises(Problem) as refused:
        rate.hit("alice")
    problem = refused.value
    assert (problem.status, problem.members) == (429, {"reason": "rate"})
    assert "3 attempts to open a stream a second" in problem.detail
    assert "BEACON_CONNECT_RATE_PER_USER" in problem.detail
    assert "Wait" in problem.detail


def test_retry_after_is_whole_seconds_and_differs(clock: list[float]) -> None:
    rate, waits = UserRateLimit(1), set()
    rate.hit("alice")
    for _ in range(60):
        with pytest.raises(Problem) as refused:
            rate.hit("alice")
        waits.add(refused.value.headers["Retry-After"])
    assert waits == {"1", "2", "3"}


def test_one_users_hits_are_nobody_elses(clock: list[float]) -> None:
    rate = UserRateLimit(2)
    assert hits(rate, "alice", 5) == 2
    assert hits(rate, "bob", 5) == 2


def test_a_refused_hit_does_not_count_so_that_hammering_locks_nobody_out(clock: list[float]) -> None:
    rate = UserRateLimit(2)
    assert hits(rate, "alice", 1000) == 2
    clock[0] += 2
    assert hits(rate, "alice", 1000) == 2


def test_a_steady_stream_of_hits_gets_its_rate_and_no_more(clock: list[float]) -> None:
    rate, passed = UserRateLimit(10), 0
    for _ in range(500):
        clock[0] += 0.02
        passed += hits(rate, "alice", 1)
    assert 90 <= passed <= 110


def test_no_second_holds_twice_the_rate(clock: list[float]) -> None:
    """A window that begins anew at a fixed moment would let twice as many through around it."""
    rate = UserRateLimit(10)
    clock[0] += 0.9
    assert hits(rate, "alice", 20) == 10
    clock[0] += 0.2
    assert hits(rate, "alice", 20) <= 2


def test_a_clock_that_is_set_back_locks_nobody_out(clock: list[float]) -> None:
    rate = UserRateLimit(2)
    hits(rate, "alice", 5)
    clock[0] -= 3600
    assert hits(rate, "alice", 5) == 2


def test_users_of_long_ago_take_no_memory() -> None:
    rate = UserRateLimit(5)
    for n in range(500):
        rate.hit(f"user-{n}")
    storage = rate._get_limiter().storage
    storage.expirations.update(dict.fromkeys(storage.expirations, 0.0))  # type: ignore[attr-defined]
    rate.hit("alice")
    wait_for(lambda: len(storage.storage) == 1, "the old counts to go")  # type: ignore[attr-defined]
    kept = (storage.storage, storage.expirations, storage.locks)  # type: ignore[attr-defined]
    assert [len(part) for part in kept] == [1, 1, 1]


def test_building_starts_nothing() -> None:
    before = threading.active_count()
    UserRateLimit(5)
    assert threading.active_count() == before


def test_the_settings_are_the_rates() -> None:
    settings = Settings(connect_rate_per_user=7, publish_rate_per_user=9)
    assert (
        rate_limits.build_connect_limit(settings).per_second,
        rate_limits.build_publish_limit(settings).per_second,
    ) == (7, 9)

"""Long work in slices that breathes: nobody waits for longer than one slice; slow work on a real thread."""

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from app.infra import concurrency
from app.infra.concurrency import TimeSlice, iterate_in_slices
from tests.support.clock import own_time
from tests.support.machine import scaled


class Loop:
    """A clock that only work moves, and what had been done at each breath."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.done = 0
        self.breaths: list[int] = []
        monkeypatch.setattr(concurrency.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(concurrency, "yield_to_loop", lambda: self.breaths.append(self.done))

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.done += 1


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    return Loop(monkeypatch)


def test_every_item_comes_once_and_in_order(loop: Loop) -> None:
    assert list(iterate_in_slices(range(1_000))) == list(range(1_000))


def test_items_that_take_no_time_are_still_interrupted(loop: Loop) -> None:
    for _ in iterate_in_slices(range(120)):
        loop.work(0)
    assert loop.breaths == [concurrency.SLICE_ITEMS, 2 * concurrency.SLICE_ITEMS]


def test_a_slice_ends_when_its_time_is_up(loop: Loop) -> None:
    for _ in iterate_in_slices(range(6)):
        loop.work(concurrency.SLICE_S / 2)
    assert loop.breaths == [2, 4, 6]


def test_making_the_items_counts_as_well(loop: Loop) -> None:
    def made() -> Iterator[int]:
        for item in range(4):
            loop.work(concurrency.SLICE_S)
            yield item

    assert list(iterate_in_slices(made())) == [0, 1, 2, 3]
    assert loop.breaths == [1, 2, 3, 4]


def test_few_and_quick_items_need_no_breath(loop: Loop) -> None:
    assert list(iterate_in_slices("abc")) == ["a", "b", "c"]
    assert loop.breaths == []


class Clock:
    def __init__(self) -> None:
        self.now = 10.0
        self.breaths: list[float] = []

    def __call__(self) -> float:
        return self.now

    def breathe(self, seconds: float) -> None:
        self.breaths.append(seconds)
        self.now += 0.5  # others had their turn


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    own_time(monkeypatch, "app.infra.concurrency", monotonic=made, sleep=made.breathe)
    return made


def test_a_breath_is_a_timer_that_is_due_and_not_a_mere_yield(clock: Clock) -> None:
    """After `sleep(0)` gevent looks at no socket before up to 50 callbacks have run."""
    concurrency.yield_to_loop()
    assert len(clock.breaths) == 1
    assert 0 < clock.breaths[0] < 1e-4


def test_work_within_its_slice_goes_on(clock: Clock) -> None:
    pace = TimeSlice(0.002)
    clock.now += 0.0019
    pace()
    assert not pace.is_over()
    assert clock.breaths == []


def test_work_beyond_its_slice_breathes_once_and_has_a_new_slice(clock: Clock) -> None:
    pace = TimeSlice(0.002)
    clock.now += 0.002
    assert pace.is_over()
    pace()
    pace()
    assert len(clock.breaths) == 1
    clock.now += 0.0021
    pace()
    assert len(clock.breaths) == 2


def test_the_time_in_which_others_run_is_not_part_of_the_slice(clock: Clock) -> None:
    pace = TimeSlice(0.002)
    pace.pause()
    assert not pace.is_over()


def test_a_call_gives_its_result_and_its_error() -> None:
    assert concurrency.run_in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        concurrency.run_in_thread(divmod, 7, 0)


def test_without_an_event_loop_a_call_stays_on_its_thread() -> None:
    assert concurrency.run_in_thread(threading.get_ident) == threading.get_ident()


def test_names_that_cannot_be_looked_up_hold_up_no_call() -> None:
    """gevent looks names up on its own pool of threads: here all of them wait as for a name server that is away."""
    code = """
from gevent import monkey
monkey.patch_all()
import os
import gevent
from app.infra import concurrency
pool, (answers, server) = gevent.get_hub().threadpool, os.pipe()
lookups = [gevent.spawn(pool.apply, os.read, (answers, 1)) for _ in range(2 * pool.maxsize)]
while pool.size < pool.maxsize:
    gevent.sleep(0.001)
assert concurrency.run_in_thread(divmod, 7, 2) == (3, 1)
assert not any(lookup.ready() for lookup in lookups)
os.write(server, bytes(len(lookups)))
gevent.joinall(lookups)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=scaled(20))


def test_long_json_is_parsed_off_the_loop_and_its_errors_print_nothing() -> None:
    code = """
from gevent import monkey
monkey.patch_all()
from app.infra.json_limits import MAX_BYTES_ON_LOOP, loads, parse_off_loop
get_ident = monkey.get_original("threading", "get_ident")
loop = get_ident()
assert parse_off_loop(lambda text: get_ident(), "x" * MAX_BYTES_ON_LOOP) == loop
assert parse_off_loop(lambda text: get_ident(), "x" * (MAX_BYTES_ON_LOOP + 1)) != loop
assert loads(b"[" + b"1, " * 40_000 + b"1]") == [1] * 40_001
try:
    loads(b"[" + b"1, " * 40_000 + b"}")
    raise AssertionError("it is no JSON")
except ValueError:
    pass
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=scaled(20))
    assert run.stderr == ""

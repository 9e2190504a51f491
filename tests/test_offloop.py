"""Long work in slices: nobody waits for longer than one slice of it."""

from collections.abc import Iterator

import pytest

from app import offloop
from app.offloop import paced


class Loop:
    """A clock that only work moves, and what had been done at each breath."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.done = 0
        self.breaths: list[int] = []
        monkeypatch.setattr(offloop.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(offloop, "breathe", lambda: self.breaths.append(self.done))

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.done += 1


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    return Loop(monkeypatch)


def test_every_item_comes_once_and_in_order(loop: Loop) -> None:
    assert list(paced(range(1_000))) == list(range(1_000))


def test_items_that_take_no_time_are_still_interrupted(loop: Loop) -> None:
    for _ in paced(range(120)):
        loop.work(0)
    assert loop.breaths == [offloop.SLICE_ITEMS, 2 * offloop.SLICE_ITEMS]


def test_a_slice_ends_when_its_time_is_up(loop: Loop) -> None:
    for _ in paced(range(6)):
        loop.work(offloop.SLICE_S / 2)
    assert loop.breaths == [2, 4, 6]


def test_making_the_items_counts_as_well(loop: Loop) -> None:
    def made() -> Iterator[int]:
        for item in range(4):
            loop.work(offloop.SLICE_S)
            yield item

    assert list(paced(made())) == [0, 1, 2, 3]
    assert loop.breaths == [1, 2, 3, 4]


def test_few_and_quick_items_need_no_breath(loop: Loop) -> None:
    assert list(paced("abc")) == ["a", "b", "c"]
    assert loop.breaths == []

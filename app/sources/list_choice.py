"""Chooses which lists a poll reads, so that together they hold no more jobs than one service may have listed."""

from collections.abc import Callable, Mapping
from typing import TypeVar

K = TypeVar("K")


def choose_lists(counts: Mapping[K, int], bound: int, is_finished: Callable[[K], bool]) -> set[K]:
    """Choose unfinished lists first, then small ones, so that one full queue does not hide the others."""
    chosen = set[K]()
    for one in sorted(counts, key=lambda one: (is_finished(one), counts[one])):
        if counts[one] <= bound:  # one that is too large leaves room for the following ones
            bound -= counts[one]
            chosen.add(one)
    return chosen

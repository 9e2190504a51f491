"""Long work on the event loop in short slices: other requests and streams get their turn in between."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from app.offloop import breathe

# One item may take as long again: together they stay below what a stream would notice.
SLICE_S = 0.002
SLICE_ITEMS = 50

T = TypeVar("T")


def paced(items: Iterable[T]) -> Iterator[T]:
    """The items one by one, with a breath after every `SLICE_ITEMS` of them or `SLICE_S` seconds of their work.

    What the consumer does with an item counts as well as what it took to make it. Hold neither a lock nor a
    database connection across a paced loop: whoever gets the turn may want it.
    """
    count, since = 0, time.monotonic()
    for item in items:
        yield item
        count += 1
        if count >= SLICE_ITEMS or time.monotonic() - since >= SLICE_S:
            breathe()
            count, since = 0, time.monotonic()

"""What keeps long work from holding the event loop: a breath between slices, or a real thread."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from gevent import get_hub
from gevent.hub import Hub
from gevent.monkey import is_module_patched
from gevent.threadpool import ThreadPool as GeventThreadPool

# gevent runs up to 50 callbacks, each a slice of somebody's work, before it looks at a socket after `sleep(0)`. A timer
# that is already due costs 2 µs and has every waiting socket looked at in the next turn.
_YIELD_S = 1e-6
SLICE_S = 0.002


def yield_to_loop() -> None:
    """Let the loop look at its sockets and run whoever waits; on a plain thread, let another thread run."""
    time.sleep(_YIELD_S)


# Where the time of each piece is not looked at: so many together stay below what a stream would notice.
SLICE_ITEMS = 50
T = TypeVar("T")


class TimeSlice:
    """Breathes when its slice is over: `pace()` after each piece of work keeps others from waiting for all of it."""

    def __init__(self, slice_s: float = SLICE_S) -> None:
        self._slice_s = slice_s
        self._ends = time.monotonic() + slice_s

    def is_over(self) -> bool:
        return time.monotonic() >= self._ends

    def pause(self) -> None:
        yield_to_loop()
        self._ends = time.monotonic() + self._slice_s

    def __call__(self) -> None:
        if self.is_over():
            self.pause()


def iterate_in_slices(items: Iterable[T]) -> Iterator[T]:
    """The items one by one, with a breath after every `SLICE_ITEMS` of them or `SLICE_S` seconds of their work.

    What the consumer does with an item counts as well as what it took to make it. Hold neither a lock nor a
    database connection across a paced loop: whoever gets the turn may want it.
    """
    pace = TimeSlice(SLICE_S)
    for count, item in enumerate(items, 1):
        yield item
        if count % SLICE_ITEMS == 0 or pace.is_over():
            pace.pause()


class NativeThreads:
    """A few native threads of one purpose: who waits for them does not wait for those of another."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pools: WeakKeyDictionary[Hub, GeventThreadPool] = WeakKeyDictionary()

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """The result of `function`, computed on one of them where this thread is an event loop."""
        if not is_module_patched("threading"):
            return function(*args)
        hub = get_hub()
        if hub not in self._pools:
            self._pools[hub] = GeventThreadPool(self._most, hub)
        return self._pools[hub].apply(function, args)


# gevent looks names up on the threads of the hub's own pool, ten of them: a name server that does not answer holds each
# for seconds, and whoever logs in or opens a stream would wait for all lookups of all services. Hence a pool beside it.
_SHARED_THREADS = 8
_shared_threads = NativeThreads(_SHARED_THREADS)


def run_in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """The result of `function`, computed on a native thread where this one is an event loop; short calls only."""
    return _shared_threads.run(function, *args)

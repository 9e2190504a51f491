"""Keeps long work from blocking the event loop: yields between time slices, or runs it on a native thread."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from gevent import get_hub
from gevent.hub import Hub
from gevent.monkey import is_module_patched
from gevent.threadpool import ThreadPool as GeventThreadPool

# After `sleep(0)` gevent runs up to 50 callbacks, each a slice of some work, before it polls sockets. A timer that is
# already due costs 2 µs and makes the loop poll all waiting sockets in its next turn.
_YIELD_S = 1e-6
SLICE_S = 0.002


def yield_to_loop() -> None:
    """Let the loop poll its sockets and run what waits. On a plain thread, let another thread run."""
    time.sleep(_YIELD_S)


# Number of items handled between two yields if each is short: together they delay no stream noticeably.
SLICE_ITEMS = 50
T = TypeVar("T")


class TimeSlice:
    """Yields to the loop when its time is over: call it after each piece of work, so that others need not wait."""

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
    """Yield the items, and yield to the loop after every `SLICE_ITEMS` of them or `SLICE_S` seconds of work.

    The time counts both making an item and what the consumer does with it. Hold neither a lock nor a database
    connection across such a loop: code that runs in between may need it.
    """
    pace = TimeSlice(SLICE_S)
    for count, item in enumerate(items, 1):
        yield item
        if count % SLICE_ITEMS == 0 or pace.is_over():
            pace.pause()


class NativeThreads:
    """A few native threads for one purpose, so that its callers do not wait for work of another purpose."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pools: WeakKeyDictionary[Hub, GeventThreadPool] = WeakKeyDictionary()

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return the result of `function`, run on one of these threads if the caller's thread runs an event loop."""
        if not is_module_patched("threading"):
            return function(*args)
        hub = get_hub()
        if hub not in self._pools:
            self._pools[hub] = GeventThreadPool(self._most, hub)
        result, error = self._pools[hub].apply(_catch_error, (function, args))
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """End the threads. No call may be under way; the next one starts new threads."""
        for pool in self._pools.values():
            pool.kill()
        self._pools.clear()


def _catch_error(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    """gevent prints a traceback of an exception that leaves a function in its thread pool, even if it is handled."""
    try:
        return function(*args), None
    except Exception as error:  # noqa: BLE001 -- raised again for the caller
        return None, error


# gevent resolves host names on the ten threads of the hub's own pool. A name server that does not answer blocks each of
# them for seconds, and logins and new streams would wait for the lookups of all services. Hence a separate pool.
_SHARED_THREADS = 8
_shared_threads = NativeThreads(_SHARED_THREADS)


def run_in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Return the result of `function`, run on a native thread if this one runs an event loop. For short calls only."""
    return _shared_threads.run(function, *args)

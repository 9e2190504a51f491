"""Deadlines for outgoing requests: the socket is shut down when time is up, whatever the request waits for.

One thread serves all deadlines, because a timer per request would cost as much as the request itself. It starts with
the first deadline and ends when none is left.
"""

import contextlib
import heapq
import itertools
import socket
import threading
import time
from types import TracebackType


class Deadline:
    """`with Deadline(5) as deadline`: the socket passed to `watch` is shut down after that many seconds."""

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._twin: socket.socket | None = None
        self._is_finished = False
        self.passed = False

    def watch(self, connected: socket.socket | None) -> None:
        self._socket = connected
        self._close_twin()
        self._cut_if_late()

    def watch_twin(self, connected: socket.socket) -> None:
        """Watch a socket that TLS is about to take over: only a duplicate descriptor still reaches it then."""
        self._twin = self._socket = connected.dup()
        self._cut_if_late()

    def _cut_if_late(self) -> None:
        """The deadline may have passed before there was a socket."""
        if self.passed:
            self.cut()

    @property
    def is_over(self) -> bool:
        return self._is_finished

    def __enter__(self) -> "Deadline":
        _deadline_thread.add(self)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        # After this the connection may be reused for the next request, so it must not be shut down any more.
        with self._lock:
            self._is_finished = True
        self._socket = None
        self._close_twin()

    def cut(self) -> None:
        with self._lock:
            if self._is_finished:
                return
            self.passed = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _close_twin(self) -> None:
        twin, self._twin = self._twin, None
        if twin is not None:
            twin.close()


class _DeadlineThread:
    """The thread and its heap of deadlines. A finished one stays in the heap until it is due."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Deadline]] = []
        self._numbers = itertools.count()
        self._is_running = False

    def add(self, deadline: Deadline) -> None:
        with self._changed:
            entry = (deadline.at, next(self._numbers), deadline)
            heapq.heappush(self._heap, entry)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="beacon-deadlines", daemon=True).start()
            elif self._heap[0] is entry:
                self._changed.notify()

    def _run(self) -> None:
        while (deadline := self._next()) is not None:
            deadline.cut()

    def _next(self) -> Deadline | None:
        """Wait for the next deadline that passes; None if there is none left."""
        with self._changed:
            while True:
                while self._heap and self._heap[0][2].is_over:
                    heapq.heappop(self._heap)
                if not self._heap:
                    self._is_running = False
                    return None
                left = self._heap[0][0] - time.monotonic()
                if left <= 0:
                    return heapq.heappop(self._heap)[2]
                self._changed.wait(left)


_deadline_thread = _DeadlineThread()

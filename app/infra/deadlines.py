"""When a request must be over, whatever it is waiting for: its socket is shut down then.

One thread looks after all of them: a timer for each request would cost as much as the request itself. It begins with
the first request and ends when none is left to look after.
"""

import contextlib
import heapq
import itertools
import socket
import threading
import time
from types import TracebackType


class Deadline:
    """`with Deadline(5) as deadline`: what it is told to `watch` is cut once so many seconds are over."""

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._twin: socket.socket | None = None
        self._over = False
        self.passed = False

    def watch(self, connected: socket.socket | None) -> None:
        self._socket = connected
        self._close_twin()
        if self.passed:  # the cut came before there was anything to cut
            self.cut()

    def watch_twin(self, connected: socket.socket) -> None:
        """For one that TLS is about to take over: only a descriptor of our own still reaches it then."""
        self._twin = self._socket = connected.dup()

    @property
    def is_over(self) -> bool:
        return self._over

    def __enter__(self) -> "Deadline":
        _deadline_thread.add(self)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        # Once over, a kept connection may serve the next request: it must not be cut any more.
        with self._lock:
            self._over = True
        self._socket = None
        self._close_twin()

    def cut(self) -> None:
        with self._lock:
            if self._over:
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
    """The thread, and what is due when. What is over already stays in the heap until its turn comes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Deadline]] = []
        self._numbers = itertools.count()
        self._runs = False

    def add(self, deadline: Deadline) -> None:
        with self._changed:
            entry = (deadline.at, next(self._numbers), deadline)
            heapq.heappush(self._due, entry)
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="beacon-deadlines", daemon=True).start()
            elif self._due[0] is entry:
                self._changed.notify()

    def _run(self) -> None:
        while (deadline := self._next()) is not None:
            deadline.cut()

    def _next(self) -> Deadline | None:
        """The next one whose time has come; None where there is none to wait for."""
        with self._changed:
            while True:
                while self._due and self._due[0][2].is_over:
                    heapq.heappop(self._due)
                if not self._due:
                    self._runs = False
                    return None
                left = self._due[0][0] - time.monotonic()
                if left <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(left)


_deadline_thread = _DeadlineThread()

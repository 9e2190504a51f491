"""Follows the event log in each worker and passes everything after its cursor to its listeners, in order."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from app.eventlog import wakeup
from app.eventlog.continuity import TailPosition
from app.eventlog.reader import Event, EventPage
from app.infra.concurrency import yield_to_loop

log = logging.getLogger(__name__)

MAX_IDLE_S = 1.0
RETRY_S = 0.5
# A read that takes longer than this counts as stalled: until it returns, nobody knows what is new.
STALLED_AFTER_S = 2.0
STALL_CHECK_INTERVAL_S = 0.5

Listener = Callable[[Sequence[Event], int], None]
"""Receives the next events in order and the cursor after them. It must neither block nor raise."""


class Tail:
    """`read_after(cursor)` reads the log, `resume(cursor)` returns where to begin or to continue after a lost
    connection, `recover()` drops connections that may be dead. `pause_s` is the least time between two reads."""

    def __init__(
        self,
        make_notifier: Callable[[], wakeup.CommitNotifier],
        read_after: Callable[[int], EventPage],
        resume: Callable[[int | None], TailPosition],
        recover: Callable[[], None],
        pause_s: float = 0.0,
    ) -> None:
        self._pause_s = pause_s
        self._make_notifier, self._read_after, self._resume, self._recover = make_notifier, read_after, resume, recover
        self._listeners: list[Listener] = []
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._read_began: float | None = None
        self._notifier: wakeup.CommitNotifier | None = None
        self.cursor = 0
        self.degraded = False
        self._is_open = False

    def add_listener(self, listener: Listener) -> None:
        """Add a listener before `start`. Listeners are called in the order in which they were added."""
        self._listeners.append(listener)

    def open(self) -> None:
        """Find the head of the log, to begin there. Raises the driver's error if the database is unavailable."""
        self.cursor = self._resume(None).after
        self._is_open = True

    def start(self) -> None:
        """Follow the log, from its head unless it was opened before. Raises as `open` does."""
        if not self._is_open:
            self.open()
        for listener in self._listeners:
            listener((), self.cursor)
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("tail", self._run), ("tail-watch", self._watch))
        ]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Read now, because this process has appended something. Like every hint it may be lost."""
        notifier = self._notifier
        if notifier is not None:
            notifier.wake()

    def stop(self) -> None:
        self._stopping.set()
        self.wake()
        for thread in self._threads:
            thread.join(timeout=2 * MAX_IDLE_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._wait()
                self._read_began = time.monotonic()
                self._read_new()
                if self._pause_s:
                    self._stopping.wait(self._pause_s)
            except Exception as error:  # noqa: BLE001 -- whatever failed, the tail must keep running
                self._handle_failure(error)
                self._read_began = None
                self._stopping.wait(RETRY_S)
        self._close()

    def _wait(self) -> None:
        """Wait until there may be new events. Without a connection there may always be some."""
        if self._notifier is not None:
            self._notifier.wait(MAX_IDLE_S, self._stopping.is_set)

    def _read_new(self) -> None:
        """Read everything that is new. Yields to the loop between pages, so that requests are served."""
        if self._notifier is None:
            self._notifier = self._make_notifier()
            self._resume_reading()
        full = True
        while full and not self._stopping.is_set():
            page = self._read_after(self.cursor)
            if page.events:
                self._notifier.expect_more()
            self._publish(page)
            full = page.full
            self._read_began = time.monotonic()
            yield_to_loop()
        self._read_began = None
        if self.degraded:
            log.warning("database is back, reading on after id %s", self.cursor)
            self.degraded = False

    def _watch(self) -> None:
        """Detect stalled reads: a frozen database or a path that drops packets raises no error for seconds."""
        while not self._stopping.wait(STALL_CHECK_INTERVAL_S):
            began = self._read_began
            if began is not None and time.monotonic() - began >= STALLED_AFTER_S:
                self._note_loss(f"a read of the log has not returned for {STALLED_AFTER_S:g} s")

    def _resume_reading(self) -> None:
        """Continue after a lost connection. The database may be a restored older one that lacks what was read."""
        place = self._resume(self.cursor)
        if place.rewound_to is not None:
            log.warning("an older database was restored: rewinding from id %s to %s", self.cursor, place.rewound_to)
            self._publish(EventPage([], place.rewound_to, full=False))
        self._publish(EventPage([], place.after, full=False))

    def _publish(self, page: EventPage) -> None:
        if page.cursor == self.cursor:
            return
        self.cursor = page.cursor
        for listener in self._listeners:
            try:
                listener(page.events, page.cursor)
            except Exception:
                log.exception("a listener of the log failed at id %s", page.cursor)

    def _handle_failure(self, error: Exception) -> None:
        self._note_loss(str(error).splitlines()[0] if str(error) else repr(error))
        self._close()
        self._recover()

    def _note_loss(self, why: str) -> None:
        if not self.degraded:
            log.error("database is unavailable, streams stay open: %s", why)
        self.degraded = True

    def _close(self) -> None:
        if self._notifier is not None:
            try:
                self._notifier.close()
            except Exception as error:  # noqa: BLE001 -- it may already be broken
                log.debug("closing the wake-up connection failed: %s", error)
            self._notifier = None

"""The one reader of the log in each worker: everything after its cursor, in order, to its listeners."""

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
# A look that takes longer than this has told nothing so far: until it comes back, nobody knows what is new.
STALLED_AFTER_S = 2.0
STALL_CHECK_INTERVAL_S = 0.25

Listener = Callable[[Sequence[Event], int], None]
"""Gets the next events in order and the cursor behind them; must neither block nor raise."""


class Tail:
    """`read_after(cursor)` looks at the log, `resume(cursor)` says where to begin or to go on after a loss; `recover()`
    drops connections that may be dead."""

    def __init__(
        self,
        make_wake: Callable[[], wakeup.CommitNotifier],
        read_after: Callable[[int], EventPage],
        resume: Callable[[int | None], TailPosition],
        recover: Callable[[], None],
    ) -> None:
        self._make_wake, self._read_after, self._resume, self._recover = make_wake, read_after, resume, recover
        self._listeners: list[Listener] = []
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._look_began: float | None = None
        self._wake: wakeup.CommitNotifier | None = None
        self.cursor = 0
        self.degraded = False

    def add_listener(self, listener: Listener) -> None:
        """Listeners are told in the order in which they were added; add them before `start`."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin at the head of the log. Raises the driver's error if the database is away."""
        self.cursor = self._resume(None).after
        for listener in self._listeners:
            listener((), self.cursor)
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("tail", self._run), ("tail-watch", self._watch))
        ]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look now: something was appended by this process. Only a hint, like every other."""
        wake = self._wake
        if wake is not None:
            wake.wake()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=2 * MAX_IDLE_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._wait()
                self._look_began = time.monotonic()
                self._look()
            except Exception as error:  # noqa: BLE001 -- whatever failed, the tail of a worker must go on
                self._lost(error)
                self._look_began = None
                self._stopping.wait(RETRY_S)
        self._close()

    def _wait(self) -> None:
        """Until there may be something new; without a connection there may always be."""
        if self._wake is not None:
            self._wake.wait(MAX_IDLE_S, self._stopping.is_set)

    def _look(self) -> None:
        """Read all there is; yields between pages, so that requests go on."""
        if self._wake is None:
            self._wake = self._make_wake()
            self._go_on()
        full = True
        while full and not self._stopping.is_set():
            page = self._read_after(self.cursor)
            if page.events:
                self._wake.expect_more()
            self._tell(page)
            full = page.full
            self._look_began = time.monotonic()
            yield_to_loop()
        self._look_began = None
        if self.degraded:
            log.warning("database is back, reading on after id %s", self.cursor)
            self.degraded = False

    def _watch(self) -> None:
        """A database that is frozen, or a path that drops packets, raises no error for seconds."""
        while not self._stopping.wait(STALL_CHECK_INTERVAL_S):
            began = self._look_began
            if began is not None and time.monotonic() - began >= STALLED_AFTER_S:
                self._note_loss(f"a look at the log has not come back for {STALLED_AFTER_S:g} s")

    def _go_on(self) -> None:
        """After a lost connection the database may be an older one, restored: what was read of it is then not in it."""
        place = self._resume(self.cursor)
        if place.rewound_to is not None:
            log.warning("reading again from id %s, after %s: an older database is back", place.rewound_to, self.cursor)
            self._tell(EventPage([], place.rewound_to, full=False))
        self._tell(EventPage([], place.after, full=False))

    def _tell(self, page: EventPage) -> None:
        if page.cursor == self.cursor:
            return
        self.cursor = page.cursor
        for listener in self._listeners:
            try:
                listener(page.events, page.cursor)
            except Exception:
                log.exception("a listener of the log failed at id %s", page.cursor)

    def _lost(self, error: Exception) -> None:
        self._note_loss(str(error).splitlines()[0] if str(error) else repr(error))
        self._close()
        self._recover()

    def _note_loss(self, why: str) -> None:
        if not self.degraded:
            log.error("database is away, streams stay open: %s", why)
        self.degraded = True

    def _close(self) -> None:
        if self._wake is not None:
            try:
                self._wake.close()
            except Exception as error:  # noqa: BLE001 -- closing what is broken already
                log.debug("closing the wake-up connection: %s", error)
            self._wake = None

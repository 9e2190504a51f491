"""The one reader of the log in each worker: everything after its cursor, in order, to its listeners."""

import logging
import threading
from collections.abc import Callable, Sequence

from app.eventlog import wake
from app.eventlog.read import Event, Page
from app.offloop import breathe

log = logging.getLogger(__name__)

LOOK_BY_ITSELF_S = 1.0
RETRY_S = 0.5

Listener = Callable[[Sequence[Event], int], None]
"""Gets the next events in order and the cursor behind them; must neither block nor raise."""


class Tail:
    """`read_after(cursor)` and `read_head()` look at the database; `recover()` drops connections that may be dead."""

    def __init__(
        self,
        make_wake: Callable[[], wake.Wake],
        read_after: Callable[[int], Page],
        read_head: Callable[[], int],
        recover: Callable[[], None],
    ) -> None:
        self._make_wake, self._read_after, self._read_head, self._recover = make_wake, read_after, read_head, recover
        self._listeners: list[Listener] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._wake: wake.Wake | None = None
        self.cursor = 0
        self.degraded = False

    def listen(self, listener: Listener) -> None:
        """Listeners are told in the order in which they were added; add them before `start`."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin at the head of the log. Raises the driver's error if the database is away."""
        self.cursor = self._read_head()
        for listener in self._listeners:
            listener((), self.cursor)
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)
        self._thread.start()

    def poke(self) -> None:
        """Look now: something was appended by this process. Only a hint, like every other."""
        wake = self._wake
        if wake is not None:
            wake.poke()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * LOOK_BY_ITSELF_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 -- whatever failed, the tail of a worker must go on
                self._lost(error)
                self._stopping.wait(RETRY_S)
        self._close()

    def _look(self) -> None:
        """Wait for a hint, then read all there is; yields between pages, so that requests go on."""
        if self._wake is None:
            self._wake = self._make_wake()
            self._check_head()
        else:
            self._wake.wait(LOOK_BY_ITSELF_S, self._stopping.is_set)
        full = True
        while full and not self._stopping.is_set():
            page = self._read_after(self.cursor)
            if page.events:
                self._wake.expect_more()
            self._tell(page)
            full = page.full
            breathe()
        if self.degraded:
            log.warning("database is back, reading on after id %s", self.cursor)
            self.degraded = False

    def _check_head(self) -> None:
        """After a lost connection the database may be an older one, restored: then go on from its head."""
        head = self._read_head()
        if head < self.cursor:
            log.warning("the log ends at id %s, below %s that was read: an older database is back", head, self.cursor)
            self._tell(Page([], head, full=False))

    def _tell(self, page: Page) -> None:
        if page.cursor == self.cursor:
            return
        self.cursor = page.cursor
        for listener in self._listeners:
            try:
                listener(page.events, page.cursor)
            except Exception:
                log.exception("a listener of the log failed at id %s", page.cursor)

    def _lost(self, error: Exception) -> None:
        if not self.degraded:
            log.error("database is away, streams stay open: %s", str(error).splitlines()[0] if str(error) else error)
        self.degraded = True
        self._close()
        self._recover()

    def _close(self) -> None:
        if self._wake is not None:
            try:
                self._wake.close()
            except Exception as error:  # noqa: BLE001 -- closing what is broken already
                log.debug("closing the wake-up connection: %s", error)
            self._wake = None

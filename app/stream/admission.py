"""Admits streams: limits how many one worker holds and how many one user has on all workers together.

A single worker on SQLite uses its own counts, which are exact, so no stream costs a query. With several workers, one
transaction reads the other workers' counts and adds the stream, so together they never exceed a user's cap. Requests
that arrive while one transaction is running share the next one. While the database accepts no writes, each worker uses
its own counts and whatever it can still read of the others. An admitted stream is never evicted: evicting the older of
two streams would make two tabs evict each other for ever.
"""

import logging
import os
import secrets
import socket
import threading
import time

from app.config import Settings
from app.infra import file_descriptors, rate_limits
from app.infra.problems import Problem, build_retry_after
from app.stream.presence import DATABASE_ERRORS, PresenceStore
from app.stream.stream_counts import RENEW_EVERY_S, SlotRefusal, StreamCounter

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 0.1
# A stream that has just ended may still be counted, on this worker or another: recheck for this long before refusing.
MAX_RECHECK_S = 0.5
# On SQLite with one worker: how long a second worker (an overlapping restart) may go unnoticed.
OTHER_WORKERS_CACHE_S = 0.5
RECHECK_INTERVAL_S = 0.1


class StreamSlot:
    """One admitted stream, counted until it is released."""

    __slots__ = ("_admission", "_user")

    def __init__(self, admission: "Admission", user: str) -> None:
        self._admission: Admission | None = admission
        self._user = user

    def release(self) -> None:
        """Stop counting this stream. Idempotent and non-blocking, so an event loop's callback may call it."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.release_slot(self._user)


class Admission:
    """Admission control of one worker. While it runs, a thread publishes this worker's counts to the others."""

    def __init__(
        self, settings: Settings, store: PresenceStore, shared: rate_limits.SharedCounters | None = None
    ) -> None:
        self._settings, self._store = settings, store
        self._rate = rate_limits.build_connect_limit(settings, shared)
        self._counter = StreamCounter()
        self._changed, self._stopping = threading.Event(), threading.Event()
        self._flushing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_database_away = False
        self._cached_has_others = False
        self._check_others_at = 0.0
        self.worker = ""

    @property
    def capacity(self) -> int:
        """Maximum number of streams on this worker: the setting, limited by the available file descriptors."""
        return min(self._settings.max_streams, file_descriptors.stream_capacity(file_descriptors.soft_limit()))

    @property
    def streams(self) -> int:
        """Number of streams admitted now."""
        return self._counter.total

    def start(self) -> None:
        # Set here and not in the constructor, because a server may build the application before it forks.
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._thread = threading.Thread(target=self._run, name="admission", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Remove this worker's rows: its streams end with it."""
        self._stopping.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join(timeout=2)
        with self._flushing:
            try:
                if self._counter.has_written_rows:
                    self._store.remove_worker(self.worker)
            except DATABASE_ERRORS as error:
                self._note_database_error(error)
            self._store.close()

    def admit(self, user: str) -> StreamSlot:
        """Return a slot for one stream of `user`. The caller must not hold a database connection while it waits.

        It may take 0.6 s, plus one or two writes if the database is slow to accept them.

        Raises `Problem`: 503 with reason `full`, 429 with reason `rate` or `user-cap`; each has a `Retry-After`.
        """
        self._rate.hit(user)
        deadline = time.monotonic() + MAX_RECHECK_S
        while True:
            if self._counter.total >= self.capacity:
                raise self._full_problem()
            refusal = self._try_acquire(user)
            if refusal is None:
                self._changed.set()
                return StreamSlot(self, user)
            if refusal == "full":
                raise self._full_problem()
            if time.monotonic() >= deadline or self._stopping.wait(RECHECK_INTERVAL_S):
                raise self._over_cap_problem()

    def release_slot(self, user: str) -> None:
        """Called by `StreamSlot.release`, once for each slot."""
        self._counter.release(user)
        self._changed.set()

    def flush(self) -> None:
        """Write this worker's unpublished changes now. Never raises; a later flush retries what failed."""
        with self._flushing:
            self._flush()

    def _flush(self) -> None:
        now = time.monotonic()
        update = None if self._stopping.is_set() else self._counter.next_update(now)
        if update is None:
            return
        try:
            granted = self._store.save(self.worker, update)
        except Exception as error:  # noqa: BLE001 -- whatever failed, this worker must keep renewing its rows
            self._note_database_error(error)
            self._counter.roll_back(update)
            self._changed.set()
        else:
            self._counter.confirm(update, now, granted)
            self._note_recovery()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.wait(RENEW_EVERY_S)
            self._changed.clear()
            self.flush()
            self._stopping.wait(FLUSH_EVERY_S)

    def _try_acquire(self, user: str) -> SlotRefusal | None:
        """Count one more stream of `user` if there is room. The database decides if it is shared and reachable."""
        cap = self._settings.max_streams_per_user
        if not self._is_database_away and self._is_shared():
            ask = self._counter.request(user, self.capacity, cap)
            with self._flushing:
                # The previous holder of the lock may have flushed this request as well.
                if ask.answer is None:
                    self._flush()
            if ask.answer == "granted":
                return None
            if ask.answer == "full" or ask.answer == "user-cap":
                return ask.answer
        return self._counter.acquire(user, self.capacity, cap - self._count_elsewhere(user))

    def _is_shared(self) -> bool:
        """True if another worker may be admitting the same user."""
        return self._settings.workers > 1 or not self._settings.is_sqlite or self._has_others()

    def _count_elsewhere(self, user: str) -> int:
        """The user's streams on other workers; 0 if this worker's count already decides or the database is down."""
        if self._counter.count_for(user) >= self._settings.max_streams_per_user or not self._has_others():
            return 0
        try:
            return self._store.count_elsewhere(self.worker, user)
        except DATABASE_ERRORS as error:
            self._note_database_error(error)
            return 0

    def _has_others(self) -> bool:
        """True if another worker has streams. Queried at most twice a second, so a lone worker's streams cost none."""
        now = time.monotonic()
        if now < self._check_others_at:
            return self._cached_has_others
        try:
            self._cached_has_others = self._store.has_others(self.worker)
        except DATABASE_ERRORS as error:
            self._note_database_error(error)
            return False
        self._check_others_at = now + OTHER_WORKERS_CACHE_S
        return self._cached_has_others

    def _note_database_error(self, error: Exception) -> None:
        if not self._is_database_away:
            lines = str(error).splitlines() or [type(error).__name__]
            log.warning(
                "the database does not answer, stream limits are per worker: worker=%s: %s", self.worker, lines[0]
            )
        self._is_database_away = True

    def _note_recovery(self) -> None:
        if self._is_database_away:
            log.warning("stream limits are shared between workers again: worker=%s", self.worker)
        self._is_database_away = False

    def _full_problem(self) -> Problem:
        detail = f"This worker has {self.streams} open streams and accepts no more. Wait as long as Retry-After says."
        return Problem(503, "Full", detail, headers=build_retry_after(3, 10), reason="full")

    def _over_cap_problem(self) -> Problem:
        detail = (
            f"You have {self._settings.max_streams_per_user} streams open, the maximum for one user "
            "(BEACON_MAX_STREAMS_PER_USER). Close a tab or a program that holds one, then connect again."
        )
        # Longer than it takes until a killed worker's streams stop counting.
        return Problem(429, "Too many streams", detail, headers=build_retry_after(3, 6), reason="user-cap")

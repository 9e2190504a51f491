"""Who gets one more stream: a worker has only so many, and a user only so many on all workers together.

One worker on SQLite goes by its own counts, which are exact, and no stream costs it a query. Where several serve, one
transaction looks at the others' counts and adds the stream, so they never pass a user's cap together. Those who come
while one is being written share the next. While the database takes no writes, each worker goes by its own counts and by
what it can still read of the others'. Whoever is in stays in: evicting the older of two streams would make two tabs
throw each other out for ever.
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
# A stream that has just ended may still be counted, here or elsewhere: look again this long before refusing.
MAX_RECHECK_S = 0.5
# For one worker on SQLite: that of an overlapping restart may go unseen for so long.
OTHER_WORKERS_CACHE_S = 0.5
RECHECK_INTERVAL_S = 0.1


class StreamSlot:
    """One admitted stream, counted until it is released."""

    __slots__ = ("_admission", "_user")

    def __init__(self, admission: "Admission", user: str) -> None:
        self._admission: Admission | None = admission
        self._user = user

    def release(self) -> None:
        """Count this stream no longer. May be called again, and from an event loop's callback: it waits for nothing."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.release_slot(self._user)


class Admission:
    """One for each worker. While it runs, a thread tells the other workers what this one counts."""

    def __init__(self, settings: Settings, store: PresenceStore) -> None:
        self._settings, self._store = settings, store
        self._rate = rate_limits.build_connect_limit(settings)
        self._counter = StreamCounter()
        self._changed, self._stopping = threading.Event(), threading.Event()
        self._flushing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._away = False
        self._others = False
        self._look_for_others_at = 0.0
        self.worker = ""

    @property
    def capacity(self) -> int:
        """The most streams of this worker: as set, and as its descriptors allow."""
        return min(self._settings.max_streams, file_descriptors.stream_capacity(file_descriptors.soft_limit()))

    @property
    def streams(self) -> int:
        """How many are admitted now."""
        return self._counter.total

    def start(self) -> None:
        # Named here and not when built, because a server may build before it forks.
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._thread = threading.Thread(target=self._run, name="admission", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take back what this worker said: its streams end with it."""
        self._stopping.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join(timeout=2)
        with self._flushing:
            try:
                if self._counter.has_written_rows:
                    self._store.remove_worker(self.worker)
            except DATABASE_ERRORS as error:
                self._missed(error)
            self._store.close()

    def admit(self, user: str) -> StreamSlot:
        """A seat for one stream of `user`; hold no database connection meanwhile.

        It may take 0.6 s, and as long as one or two writes more where the database does not take them at once.

        Raises `Problem`: 503 with reason `full`, 429 with reason `rate` or `user-cap`; each says when to come back.
        """
        self._rate.hit(user)
        deadline = time.monotonic() + MAX_RECHECK_S
        while True:
            if self._counter.total >= self.capacity:
                raise self._full()
            refusal = self._take(user)
            if refusal is None:
                self._changed.set()
                return StreamSlot(self, user)
            if refusal == "full":
                raise self._full()
            if time.monotonic() >= deadline or self._stopping.wait(RECHECK_INTERVAL_S):
                raise self._over_cap()

    def release_slot(self, user: str) -> None:
        """For `Seat.release`, once for each seat."""
        self._counter.release(user)
        self._changed.set()

    def flush(self) -> None:
        """Write what the others do not know yet, now. Never raises; what failed is written by a later flush."""
        with self._flushing:
            self._flush()

    def _flush(self) -> None:
        now = time.monotonic()
        update = None if self._stopping.is_set() else self._counter.next_update(now)
        if update is None:
            return
        try:
            granted = self._store.save(self.worker, update)
        except Exception as error:  # noqa: BLE001 -- whatever failed, the rows of a worker must go on
            self._missed(error)
            self._counter.roll_back(update)
            self._changed.set()
        else:
            self._counter.confirm(update, now, granted)
            self._answered()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.wait(RENEW_EVERY_S)
            self._changed.clear()
            self.flush()
            self._stopping.wait(FLUSH_EVERY_S)

    def _take(self, user: str) -> SlotRefusal | None:
        """Count one more stream of `user` where it fits; the database decides where it can and must."""
        cap = self._settings.max_streams_per_user
        if not self._away and self._is_shared():
            ask = self._counter.request(user, self.capacity, cap)
            with self._flushing:
                # Whoever had the lock before may have asked for this one as well.
                if ask.answer is None:
                    self._flush()
            if ask.answer == "granted":
                return None
            if ask.answer == "full" or ask.answer == "user-cap":
                return ask.answer
        return self._counter.acquire(user, self.capacity, cap - self._elsewhere(user))

    def _is_shared(self) -> bool:
        """Whether another worker may be admitting the same user."""
        return self._settings.workers > 1 or not self._settings.is_sqlite or self._has_others()

    def _elsewhere(self, user: str) -> int:
        """0 where this worker's own count decides, or the database is away: then there is only that."""
        if self._counter.count_for(user) >= self._settings.max_streams_per_user or not self._has_others():
            return 0
        try:
            return self._store.count_elsewhere(self.worker, user)
        except DATABASE_ERRORS as error:
            self._missed(error)
            return 0

    def _has_others(self) -> bool:
        """Looked up at most twice a second: where one worker serves, no stream costs a query."""
        now = time.monotonic()
        if now < self._look_for_others_at:
            return self._others
        try:
            self._others = self._store.has_others(self.worker)
        except DATABASE_ERRORS as error:
            self._missed(error)
            return False
        self._look_for_others_at = now + OTHER_WORKERS_CACHE_S
        return self._others

    def _missed(self, error: Exception) -> None:
        if not self._away:
            lines = str(error).splitlines() or [type(error).__name__]
            log.warning("each worker counts its streams for itself, the database does not answer: %s", lines[0])
        self._away = True

    def _answered(self) -> None:
        if self._away:
            log.warning("workers know of each other's streams again")
        self._away = False

    def _full(self) -> Problem:
        detail = f"This worker holds {self.streams} streams and takes no more. Wait as long as Retry-After says."
        return Problem(503, "Full", detail, headers=build_retry_after(3, 10), reason="full")

    def _over_cap(self) -> Problem:
        detail = (
            f"You have {self._settings.max_streams_per_user} streams open, the most that a user may have "
            "(BEACON_MAX_STREAMS_PER_USER). Close one, a tab or a program, and connect again."
        )
        # Beyond the time in which a killed worker's streams stop counting.
        return Problem(429, "Too many streams", detail, headers=build_retry_after(3, 6), reason="user-cap")

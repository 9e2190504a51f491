"""Monitors the workers of one Celery service in a thread: listens to their events and inspects them regularly.

A poll never waits for it; it uses the latest roster, which carries its time. Only if a task is gone and only the
workers can say whether it is lost does a caller wait briefly for an inspection that began after that.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from app.sources.celery.celery_workers import Inspection, Roster, RosterTracker
from app.sources.celery.remote_control import ANSWER_S, RemoteControl, parse_announcement
from app.sources.protocol import SourceError
from app.sources.redis.client import RedisServer

INSPECT_EVERY_S = 2.0
COUNT_EVERY_S = 0.5
# Minimum interval even if an inspection is requested.
INSPECT_GAP_S = 0.2
LISTEN_S = 0.15
# After this many inspections without all answers, callers no longer wait for the next one.
MAX_SILENT_ROUNDS = 2
RECONNECT_S = 1.0
# If a source is not used for this long, it was probably never closed; its thread ends.
MAX_UNUSED_S = 900.0
STOP_S = 5.0


class WorkerMonitor:
    """Keeps a roster of the workers. The thread starts with the first `latest_roster()` and ends with `close()`."""

    def __init__(self, connect: Callable[[], RedisServer], remote_control: RemoteControl) -> None:
        self._connect, self._remote_control = connect, remote_control
        self._tracker = RosterTracker()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._silent_rounds = 0
        self._wanted_at = self._used_at = self._inspected_at = self._counted_at = 0.0

    def latest_roster(self) -> Roster:
        """Return the latest roster without waiting."""
        self._ensure_running()
        return self._tracker.roster

    def request_inspection(self) -> None:
        """Request an inspection soon, because a task is gone and the workers may know it."""
        self._wanted_at = time.time()

    def wait_for_roster(self, moment: float, within_s: float) -> Roster | None:
        """Wait for a settled roster of an inspection after `moment`; None if there is none in time.

        Does not wait for workers that have been silent for a while: there will be another poll.
        """
        self._ensure_running()
        deadline = time.monotonic() + within_s
        with self._changed:
            while not (self._tracker.roster.at >= moment and self._tracker.roster.settled):
                self.request_inspection()
                left = deadline - time.monotonic()
                if left <= 0 or self._silent_rounds >= MAX_SILENT_ROUNDS:
                    return None
                self._changed.wait(min(left, LISTEN_S))
            return self._tracker.roster

    def close(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
            self._thread = None

    def _ensure_running(self) -> None:
        self._used_at = time.monotonic()
        if self._thread is None or not self._thread.is_alive():
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="beacon-celery", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        asking = self._connect()
        while not self._stopping.is_set() and time.monotonic() - self._used_at < MAX_UNUSED_S:
            listening = self._connect()
            with contextlib.suppress(SourceError):
                self._run_connected(listening, asking)
            listening.close()
            self._update(self._tracker.stop_listening)
            self._stopping.wait(RECONNECT_S)
        with contextlib.suppress(SourceError), asking.reading(ANSWER_S) as client:
            self._remote_control.delete_replies(client)
        asking.close()

    def _run_connected(self, listening: RedisServer, asking: RedisServer) -> None:
        with listening.reading() as client:
            pubsub = client.pubsub()  # type: ignore[no-untyped-call]
            pubsub.psubscribe(self._remote_control.events)
        try:
            self._receive(listening, pubsub)  # the subscription's confirmation: from now on no event is missed
            self._update(partial(self._tracker.start_listening, time.time()))
            while not self._stopping.is_set() and time.monotonic() - self._used_at < MAX_UNUSED_S:
                self._receive(listening, pubsub)
                self._check_worker_count(asking)
                if self._is_due():
                    self._inspect(listening, asking, pubsub)
        finally:
            pubsub.close()

    def _check_worker_count(self, asking: RedisServer) -> None:
        """Compare the number of connected workers: notices a missing one sooner and cheaper than an inspection."""
        if time.monotonic() - self._counted_at < COUNT_EVERY_S:
            return
        self._counted_at = time.monotonic()
        with asking.reading(ANSWER_S) as client:
            if self._remote_control.count_workers(client) != self._tracker.roster.asked:
                self.request_inspection()

    def _is_due(self) -> bool:
        now, last = time.time(), self._inspected_at
        wanted = self._wanted_at > last or self._tracker.is_waiting
        return now - last >= (INSPECT_GAP_S if wanted else INSPECT_EVERY_S) or now < last

    def _inspect(self, listening: RedisServer, asking: RedisServer, pubsub: Any) -> None:
        self._inspected_at = time.time()
        with asking.reading(ANSWER_S * 3) as client:
            inspection: Inspection = self._remote_control.inspect(client)
        self._receive(listening, pubsub, LISTEN_S / 20)  # process announcements before the inspection that they explain
        self._update(partial(self._record_inspection, inspection))

    def _record_inspection(self, inspection: Inspection) -> None:
        roster = self._tracker.record_inspection(inspection, time.time())
        silent = len(roster.answered) < roster.asked
        self._silent_rounds = self._silent_rounds + 1 if silent else 0

    def _receive(self, listening: RedisServer, pubsub: Any, wait_s: float = LISTEN_S) -> None:
        """Process all events that have arrived or arrive within `wait_s`."""
        for _ in range(1_000):
            with listening.reading(wait_s + 1.0):
                message = pubsub.get_message(timeout=wait_s)
            if message is None:
                return
            wait_s = 0.001
            said = parse_announcement(message["data"])
            if said is not None:
                self._update(partial(self._tracker.record_announcement, *said, time.time()))

    def _update(self, what: Callable[[], object]) -> None:
        with self._changed:
            what()
            self._changed.notify_all()

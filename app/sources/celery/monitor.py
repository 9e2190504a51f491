"""One thread for each watched Celery: listens to what workers announce, and asks them now and then.

A look never waits for it; it takes the newest roster, which carries its time. Only where a task is gone, and the
workers alone can say whether it is lost, somebody waits, shortly, for the answers to a question asked after that.
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
# Even when it is wanted: at most so often.
INSPECT_GAP_S = 0.2
LISTEN_S = 0.15
# Rounds of questions without all answers, after which nobody waits for the next one.
MAX_SILENT_ROUNDS = 2
RECONNECT_S = 1.0
# A source that nobody looks at any more was left without being closed; its thread ends.
MAX_UNUSED_S = 900.0
STOP_S = 5.0


class WorkerMonitor:
    """Starts with the first `roster()`; ends with `close()`."""

    def __init__(self, connect: Callable[[], RedisServer], remote_control: RemoteControl) -> None:
        self._connect, self._remote_control = connect, remote_control
        self._tracker = RosterTracker()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._silent_rounds = 0
        self._wanted_at = self._used_at = self._inspected_at = self._counted_at = 0.0

    def latest_roster(self) -> Roster:
        """The newest one, at once."""
        self._ensure_running()
        return self._tracker.roster

    def request_inspection(self) -> None:
        """Ask soon: something is gone, and the workers may know."""
        self._wanted_at = time.time()

    def wait_for_roster(self, moment: float, within_s: float) -> Roster | None:
        """A settled roster of questions asked after `moment`; None where there is none in time.

        Somebody who has been silent for a while is not waited for: there will be another look.
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
            self._receive(listening, pubsub)  # the confirmation: from here on nothing is missed
            self._update(partial(self._tracker.start_listening, time.time()))
            while not self._stopping.is_set() and time.monotonic() - self._used_at < MAX_UNUSED_S:
                self._receive(listening, pubsub)
                self._check_worker_count(asking)
                if self._is_due():
                    self._inspect(listening, asking, pubsub)
        finally:
            pubsub.close()

    def _check_worker_count(self, asking: RedisServer) -> None:
        """One that is gone is noticed sooner than by asking, and at less cost to all the others."""
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
        self._receive(listening, pubsub, LISTEN_S / 20)  # an parse_announcement comes before what it explains is judged
        self._update(partial(self._record_inspection, inspection))

    def _record_inspection(self, inspection: Inspection) -> None:
        roster = self._tracker.record_inspection(inspection, time.time())
        silent = len(roster.answered) < roster.asked
        self._silent_rounds = self._silent_rounds + 1 if silent else 0

    def _receive(self, listening: RedisServer, pubsub: Any, wait_s: float = LISTEN_S) -> None:
        """All that came, and what comes within `wait_s`."""
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

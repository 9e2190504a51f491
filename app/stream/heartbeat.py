"""Sends heartbeats spread over their interval, ends slow or old streams, and measures the event loop's lag."""

import logging
import random
import threading
import time
from collections.abc import Callable

from app.infra.concurrency import TimeSlice
from app.stream import control
from app.stream.hub import Hub
from app.stream.socket_transport import SLOW_READER_TIMEOUT_S, SocketSubscriber

log = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 1.0
WHEEL_TICK_S = 0.1
LAG_WINDOW_S = 1.0


class Heartbeats:
    """A background part. Every subscriber belongs to one slot of a wheel that turns once per heartbeat interval."""

    def __init__(self, hub: Hub, heartbeat_s: float, is_degraded: Callable[[], bool]) -> None:
        self._hub, self._is_degraded = hub, is_degraded
        slots = max(1, round(heartbeat_s / WHEEL_TICK_S))
        self._tick_s = heartbeat_s / slots
        self._slots: list[dict[SocketSubscriber, None]] = [{} for _ in range(slots)]
        self._current_slot = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._lag_since = time.monotonic()
        self._worst_lag_s = 0.0

    def add(self, subscriber: SocketSubscriber) -> None:
        subscriber.slot = random.randrange(len(self._slots))  # noqa: S311 -- spreads heartbeats
        self._slots[subscriber.slot][subscriber] = None

    def remove(self, subscriber: SocketSubscriber) -> None:
        self._slots[subscriber.slot].pop(subscriber, None)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="heartbeats", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def _run(self) -> None:
        due = time.monotonic()
        swept = due
        while not self._stopping.is_set():
            due += self._tick_s
            self._stopping.wait(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            self._note_lag(now, now - due)
            due = max(due, now - self._tick_s)  # after a long pause: continue, do not send the missed heartbeats
            try:
                self._send_heartbeats()
                if now >= swept + SWEEP_INTERVAL_S:
                    swept = now
                    self._check_all_timeouts(now)
            except Exception:
                log.exception("heartbeat round failed; the next one runs in %.1f s", self._tick_s)

    def _send_heartbeats(self) -> None:
        """Send one slot's heartbeats: the same bytes to all of its subscribers."""
        self._current_slot = (self._current_slot + 1) % len(self._slots)
        slot = self._slots[self._current_slot]
        if not slot:
            return
        frame, pace = self._build_frame(), TimeSlice()
        for subscriber in list(slot):
            if subscriber.close_reason is None:
                subscriber.send_control(frame)
            if pace.is_over():
                pace.pause()
                frame = self._build_frame()  # events sent during the pause must not lie above the head in this frame

    def _build_frame(self) -> bytes:
        return control.heartbeat_frame(self._hub.cursor, degraded=self._is_degraded())

    def _check_all_timeouts(self, now: float) -> None:
        pace = TimeSlice()
        for slot in self._slots:
            for subscriber in list(slot):
                try:
                    self._check_timeouts(subscriber, now)
                except Exception:  # the other streams' timeouts still have to be checked
                    log.exception("checking a stream's timeouts failed: user=%s", subscriber.reader.viewer.name)
            pace()
        self._hub.check_flags()

    def _check_timeouts(self, subscriber: SocketSubscriber, now: float) -> None:
        if subscriber.blocked_since is not None:
            subscriber.note_progress(now)
        if subscriber.close_reason is not None:
            if now >= subscriber.ends_at:
                subscriber.finish()
        elif subscriber.blocked_since is not None and now - subscriber.blocked_since >= SLOW_READER_TIMEOUT_S:
            subscriber.close("slow")
        elif now >= subscriber.ends_at:
            subscriber.close("lifetime")

    def _note_lag(self, now: float, lag_s: float) -> None:
        self._worst_lag_s = max(self._worst_lag_s, lag_s)
        if now >= self._lag_since + LAG_WINDOW_S:
            self._hub.counters.loop_lag_s = self._worst_lag_s
            self._worst_lag_s, self._lag_since = 0.0, now

"""Brings handed-off readers that are behind up to date, a chunk at a time and in turn."""

import logging
import threading
import time
from queue import SimpleQueue

from app.infra.concurrency import TimeSlice
from app.stream.hub import Hub
from app.stream.replay import LogUnavailable, Replay
from app.stream.socket_transport import SocketSubscriber

log = logging.getLogger(__name__)

# Looks at the log that may be under way at once: each holds a connection while it lasts.
CATCHUP_THREADS = 4
RETRY_S = 0.5
# Chunks for one reader before it is another's turn.
CHUNKS_PER_TURN = 4


class CatchUp:
    """A lifecycle part. A wire waits here at most once; one that does not take its bytes leaves, and comes again."""

    def __init__(self, hub: Hub, replay: Replay) -> None:
        self._hub, self._replay = hub, replay
        self._waiting: SimpleQueue[SocketSubscriber | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        # One for all: taking from the queue and reading SQLite give nobody else a turn.
        self._pace = TimeSlice()

    def add(self, wire: SocketSubscriber) -> None:
        if not wire.is_queued:
            wire.is_queued = True
            self._waiting.put(wire)

    def start(self) -> None:
        for _ in range(CATCHUP_THREADS):
            thread = threading.Thread(target=self._run, name="catch-up", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(timeout=1)

    def _run(self) -> None:
        while (wire := self._waiting.get()) is not None:
            wire.is_queued = False
            try:
                self._turn(wire)
            except LogUnavailable:
                time.sleep(RETRY_S)
                self.add(wire)
            except Exception:
                log.exception("a stream of %s cannot be caught up", wire.reader.viewer.name)
                wire.end("error")

    def _turn(self, wire: SocketSubscriber) -> None:
        for _ in range(CHUNKS_PER_TURN):
            self._pace()
            if not wire.can_send() or wire.live:
                return
            chunk = self._replay.next(wire)
            # Looking may have taken a while: the stream may have ended or been told goodbye meanwhile, or been stalled
            # by a heartbeat, drained and had another turn.
            if not wire.can_send() or chunk.after != wire.cursor or not wire.write(chunk):
                return
            self._hub.counters.deliveries += chunk.events
            if self._hub.go_live(wire):
                return
            if chunk.upto == chunk.after:
                # The tail is ahead of the log itself, which an older file has replaced: look again, but not at once.
                time.sleep(RETRY_S)
        self.add(wire)

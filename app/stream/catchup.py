"""Brings lagging socket subscribers up to date, a few chunks at a time and in turn."""

import logging
import threading
import time
from queue import SimpleQueue

from app.infra.concurrency import TimeSlice
from app.stream.hub import Hub
from app.stream.replay import LogUnavailable, Replay
from app.stream.socket_transport import SocketSubscriber

log = logging.getLogger(__name__)

# Concurrent reads of the log; each one holds a database connection while it runs.
CATCHUP_THREADS = 4
RETRY_S = 0.5
# Chunks for one subscriber before the next one gets its turn.
CHUNKS_PER_TURN = 4


class CatchUp:
    """A background part. A subscriber is queued at most once. If its socket blocks, it is added again later."""

    def __init__(self, hub: Hub, replay: Replay) -> None:
        self._hub, self._replay = hub, replay
        self._waiting: SimpleQueue[SocketSubscriber | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        # Shared by all threads: neither taking from the queue nor reading SQLite yields to the loop.
        self._pace = TimeSlice()

    def add(self, subscriber: SocketSubscriber) -> None:
        if not subscriber.is_queued:
            subscriber.is_queued = True
            self._waiting.put(subscriber)

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
        while (subscriber := self._waiting.get()) is not None:
            subscriber.is_queued = False
            try:
                self._serve(subscriber)
            except LogUnavailable:
                time.sleep(RETRY_S)
                self.add(subscriber)
            except Exception:
                log.exception(
                    "catch-up of a stream failed: user=%s after=%s", subscriber.reader.viewer.name, subscriber.cursor
                )
                subscriber.end("error")

    def _serve(self, subscriber: SocketSubscriber) -> None:
        for _ in range(CHUNKS_PER_TURN):
            self._pace()
            if not subscriber.can_send() or subscriber.live:
                return
            chunk = self._replay.next(subscriber)
            # The read may have taken a while. Since then the stream may have ended or been asked to close, or a
            # heartbeat may have blocked its socket, which drained and got another turn.
            if not subscriber.can_send() or chunk.after != subscriber.cursor or not subscriber.write(chunk):
                return
            self._hub.counters.deliveries += chunk.events
            if self._hub.go_live(subscriber):
                return
            if chunk.upto == chunk.after:
                # The tail is ahead of the log, because an older file replaced it: retry after a pause.
                time.sleep(RETRY_S)
        self.add(subscriber)

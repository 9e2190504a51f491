"""Sends what is new to everybody who is live, round after round: under load a round joins what came meanwhile."""

import logging
import threading
import time
from collections.abc import Collection, Iterable, Sequence

from app.eventlog.audience import CONTROL, EVERYONE
from app.infra.concurrency import TimeSlice
from app.stream.chunks import Chunk, SharedEncoding, join_chunks
from app.stream.hub import Hub
from app.stream.ring_buffer import BufferedEvent
from app.stream.subscriber import Subscriber

log = logging.getLogger(__name__)

MAX_IDLE_S = 1.0
# Sends between two looks at the clock; 16 take about 0.1 ms.
SENDS_PER_CLOCK_CHECK = 16

_ONLY_EVERYONE = frozenset({EVERYONE})


class Broadcaster:
    """A lifecycle part. `send` is one thread's: it runs rounds until nothing is new."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._sent = self._restarts = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="rounds", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._hub.has_news.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * MAX_IDLE_S)

    def send(self) -> None:
        while self._sent != self._hub.cursor or self._restarts != self._hub.restarts:
            if self._restarts != self._hub.restarts:
                # It may have grown to the same id again meanwhile.
                self._restarts, self._sent = self._hub.restarts, self._hub.ring.floor
            after, self._sent = self._sent, self._hub.cursor
            try:
                self._round(after, self._sent)
            except Exception:
                log.exception("a round from id %s to %s failed; who missed it reads the log", after, self._sent)
                self._put_behind(self._sent)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._hub.has_news.wait(MAX_IDLE_S)
            self._hub.has_news.clear()
            self.send()

    def _round(self, after: int, upto: int) -> None:
        ring = self._hub.ring
        entries = [entry for entry in ring.after(after) if entry.event.id <= upto]
        if after < ring.floor:
            # More came at once than the ring holds, or this is the first round of all.
            self._put_behind(ring.floor)
        _BroadcastRound(self._hub, entries, after, upto).run()

    def _put_behind(self, floor: int) -> None:
        for subscriber in self._hub.snapshot():
            if subscriber.live and subscriber.cursor < floor:
                subscriber.mark_lagging()


class _BroadcastRound:
    """From `after` to `upto`. The bytes for a form and the audiences that matter are joined once."""

    def __init__(self, hub: Hub, entries: Sequence[BufferedEvent], after: int, upto: int) -> None:
        self._hub, self._entries, self._after, self._upto = hub, entries, after, upto
        self._audiences = frozenset(entry.event.audience for entry in entries) - {CONTROL}
        self._is_for_everyone = self._audiences <= _ONLY_EVERYONE
        self._made: dict[SharedEncoding | tuple[SharedEncoding, frozenset[str]], list[Chunk]] = {}
        self._pace = TimeSlice()

    def run(self) -> None:
        deliveries = 0
        after, upto, made = self._after, self._upto, self._made
        for place, subscriber in enumerate(self._hub.snapshot()):
            if not subscriber.live or subscriber.cursor >= upto:
                continue
            # The usual case first and without a call: it has what came before, and its bytes are made.
            alike = made.get(subscriber.form) if self._is_for_everyone and subscriber.cursor == after else None
            for chunk in alike or self._for(subscriber):
                if not subscriber.push(chunk):
                    break
                deliveries += chunk.events
            if not place % SENDS_PER_CLOCK_CHECK and self._pace.is_over():
                self._note(deliveries)
                deliveries = 0
                self._pace.pause()
        self._note(deliveries)

    def _for(self, subscriber: Subscriber) -> Iterable[Chunk]:
        if subscriber.cursor < self._after:
            subscriber.mark_lagging()
            return ()
        if subscriber.cursor > self._after:
            # It went live in the middle of what this round sends.
            entries = [entry for entry in self._entries if entry.event.id > subscriber.cursor]
            return list(self._join(entries, subscriber.form, subscriber.audiences, subscriber.cursor))
        if self._is_for_everyone:
            return self._shared(subscriber.form, subscriber.form, _ONLY_EVERYONE)
        audiences = self._audiences & subscriber.audiences
        return self._shared((subscriber.form, audiences), subscriber.form, audiences)

    def _shared(
        self,
        key: SharedEncoding | tuple[SharedEncoding, frozenset[str]],
        form: SharedEncoding,
        audiences: frozenset[str],
    ) -> Iterable[Chunk]:
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = list(self._join(self._entries, form, audiences, self._after))
        return made

    def _join(
        self, entries: Iterable[BufferedEvent], form: SharedEncoding, audiences: Collection[str], after: int
    ) -> Iterable[Chunk]:
        return join_chunks(entries, form, audiences, after, self._upto, self._pace)

    def _note(self, deliveries: int) -> None:
        """Events that go out joined share the mean of their lags."""
        if deliveries:
            mean = sum(entry.appended_at for entry in self._entries) / len(self._entries)
            self._hub.counters.deliveries += deliveries
            self._hub.counters.lag.add(time.time() - mean, deliveries)

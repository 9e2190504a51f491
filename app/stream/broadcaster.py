"""Sends new events to all live subscribers in rounds; under load one round covers everything that has arrived."""

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
# Sends between two checks of the clock; 16 take about 0.1 ms.
SENDS_PER_CLOCK_CHECK = 16

_ONLY_EVERYONE = frozenset({EVERYONE})


class Broadcaster:
    """A background part. Only one thread may call `send`, which runs rounds until nothing is new."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._sent = self._restarts = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="broadcaster", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._hub.has_news.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * MAX_IDLE_S)

    def send(self) -> None:
        while self._sent != self._hub.cursor or self._restarts != self._hub.restarts:
            if self._restarts != self._hub.restarts:
                # The log may have reached the same id again since it was reset.
                self._restarts, self._sent = self._hub.restarts, self._hub.ring.floor
            after, self._sent = self._sent, self._hub.cursor
            try:
                self._run_round(after, self._sent)
            except Exception:
                log.exception("broadcast of ids %s to %s failed; subscribers will read the log", after, self._sent)
                self._mark_lagging_below(self._sent)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._hub.has_news.wait(MAX_IDLE_S)
            self._hub.has_news.clear()
            self.send()

    def _run_round(self, after: int, upto: int) -> None:
        ring = self._hub.ring
        entries = [entry for entry in ring.after(after) if entry.event.id <= upto]
        if after < ring.floor:
            # More events arrived at once than the ring buffer holds, or this is the first round.
            self._mark_lagging_below(ring.floor)
        _BroadcastRound(self._hub, entries, after, upto).run()

    def _mark_lagging_below(self, floor: int) -> None:
        for subscriber in self._hub.snapshot():
            if subscriber.live and subscriber.cursor < floor:
                subscriber.mark_lagging()


class _BroadcastRound:
    """One round from `after` to `upto`. Bytes are joined once for each encoding and set of relevant audiences."""

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
            # The usual case first and without a call: the subscriber is up to date and its bytes exist.
            alike = made.get(subscriber.encoding) if self._is_for_everyone and subscriber.cursor == after else None
            for chunk in alike or self._chunks_for(subscriber):
                if not subscriber.push(chunk):
                    break
                deliveries += chunk.events
            if not place % SENDS_PER_CLOCK_CHECK and self._pace.is_over():
                self._count_deliveries(deliveries)
                deliveries = 0
                self._pace.pause()
        self._count_deliveries(deliveries)

    def _chunks_for(self, subscriber: Subscriber) -> Iterable[Chunk]:
        if subscriber.cursor < self._after:
            subscriber.mark_lagging()
            return ()
        if subscriber.cursor > self._after:
            # The subscriber went live in the middle of this round's range.
            entries = [entry for entry in self._entries if entry.event.id > subscriber.cursor]
            return list(self._join_entries(entries, subscriber.encoding, subscriber.audiences, subscriber.cursor))
        if self._is_for_everyone:
            return self._get_shared_chunks(subscriber.encoding, subscriber.encoding, _ONLY_EVERYONE)
        audiences = self._audiences & subscriber.audiences
        return self._get_shared_chunks((subscriber.encoding, audiences), subscriber.encoding, audiences)

    def _get_shared_chunks(
        self,
        key: SharedEncoding | tuple[SharedEncoding, frozenset[str]],
        encoding: SharedEncoding,
        audiences: frozenset[str],
    ) -> Iterable[Chunk]:
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = list(self._join_entries(self._entries, encoding, audiences, self._after))
        return made

    def _join_entries(
        self, entries: Iterable[BufferedEvent], encoding: SharedEncoding, audiences: Collection[str], after: int
    ) -> Iterable[Chunk]:
        return join_chunks(entries, encoding, audiences, after, self._upto, self._pace)

    def _count_deliveries(self, deliveries: int) -> None:
        """Count deliveries. Events sent together are counted with the mean of their lags."""
        if deliveries:
            mean = sum(entry.appended_at for entry in self._entries) / len(self._entries)
            self._hub.counters.deliveries += deliveries
            self._hub.counters.lag.add(time.time() - mean, deliveries)

"""Runs one stream from `hello` to `bye` as an iterator, where no socket can be handed off.

That is: TLS at gunicorn, the development server, the test client.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.stream import control
from app.stream.control import Opening
from app.stream.hub import Hub
from app.stream.queue_subscriber import QueuedSubscriber
from app.stream.replay import LogUnavailable, Replay

LOG_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class StreamTiming:
    heartbeat_s: float
    lifetime_s: float


class GeneratorStream:
    """Iterate it to run the stream; closing the iterator ends it."""

    def __init__(
        self,
        hub: Hub,
        opening: Opening,
        replay: Replay,
        rhythm: StreamTiming,
        is_degraded: Callable[[], bool],
        cut: Callable[[], None] = lambda: None,
    ) -> None:
        self._hub, self._opening, self._replay, self._cut = hub, opening, replay, cut
        self._rhythm, self._is_degraded = rhythm, is_degraded

    def __iter__(self) -> Iterator[bytes]:
        subscriber = QueuedSubscriber(self._opening.reader, self._opening.start.after, cut=self._cut)
        self._hub.add(subscriber, self._opening)
        reason = "client-gone"
        try:
            yield self._opening.frames()
            self._hub.check_admission(subscriber, self._opening)
            yield from self._body(subscriber)
            reason = subscriber.close_reason or reason
            yield control.bye_frame(subscriber.close_reason)
        except GeneratorExit:
            raise
        except Exception:
            reason = "error"
            raise
        finally:
            self._hub.remove(subscriber, reason)

    def _body(self, subscriber: QueuedSubscriber) -> Iterator[bytes]:
        opened = subscriber.opened_at
        ends = opened + self._rhythm.lifetime_s * random.uniform(0.8, 1.2)  # noqa: S311 -- spreads reconnects
        beat = opened + self._rhythm.heartbeat_s * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads heartbeats
        while subscriber.close_reason is None:
            if time.monotonic() >= ends:
                subscriber.close("lifetime")
            data = subscriber.take(min(beat, ends) - time.monotonic())
            if not data and not subscriber.live and subscriber.close_reason is None:
                data = self._catch_up(subscriber)
            if data:
                self._hub.counters.bytes += len(data)
                yield data
            if time.monotonic() >= beat:
                beat = time.monotonic() + self._rhythm.heartbeat_s
                yield control.heartbeat_frame(self._hub.cursor, degraded=self._is_degraded())

    def _catch_up(self, subscriber: QueuedSubscriber) -> bytes:
        """Return one chunk of missed events. The subscriber goes live once its cursor has reached the hub's."""
        try:
            chunk = self._replay.next(subscriber)
        except LogUnavailable:
            subscriber.pause_before_retry(LOG_RETRY_S)
            return b""
        subscriber.cursor = chunk.upto
        self._hub.counters.deliveries += chunk.events
        if not self._hub.go_live(subscriber) and chunk.upto == chunk.after:
            # The tail is ahead of the log, because an older file replaced it: retry after a pause.
            subscriber.pause_before_retry(LOG_RETRY_S)
        return chunk.data

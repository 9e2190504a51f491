"""One open stream from `hello` to `bye`: replay, go live, heartbeats, lifetime. The generator transport's body."""

import random
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from app.clock import utc_text
from app.eventlog.audience import CONTROL
from app.eventlog.read import Page
from app.logs import sse_line
from app.stream import sse
from app.stream.cursor import Start
from app.stream.hub import Hub, is_revoked
from app.stream.subscriber import Subscriber

RETRY_MS = (1_500, 3_000)
DATABASE_RETRY_S = 0.5
# Events shaped between two turns of the event loop: some 5 ms where each becomes HTML.
BREATHE_EVERY = 10

ReadLog = Callable[[int, Collection[str]], Page]
"""The log after a cursor for these audiences; opens and gives back its own connection. Raises when it is away."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    heartbeat_s: float
    lifetime_s: float


class Feed:
    """Iterate it to run the stream; closing the iterator ends it. `hello` is what the first frame says."""

    def __init__(
        self,
        hub: Hub,
        subscriber: Subscriber,
        start: Start,
        hello: dict[str, Any],
        read_log: ReadLog,
        rhythm: Rhythm,
        is_degraded: Callable[[], bool],
    ) -> None:
        self._hub, self._subscriber, self._start, self._hello = hub, subscriber, start, hello
        self._read_log, self._rhythm, self._is_degraded = read_log, rhythm, is_degraded
        self._log_is_away = False

    def __iter__(self) -> Iterator[bytes]:
        self._hub.add(self._subscriber)
        opened = time.monotonic()
        user = self._subscriber.reader.viewer.name
        sse_line("open", user=user, after=self._start.after, head=self._start.head, reset=self._start.reset)
        reason = "client-gone"
        try:
            yield self._opening()
            yield from self._body(opened)
            reason = self._subscriber.goodbye or reason
            yield self._bye()
        except GeneratorExit:
            raise
        except Exception as error:
            reason = f"error {type(error).__name__}"
            raise
        finally:
            self._hub.remove(self._subscriber)
            seconds = round(time.monotonic() - opened, 1)
            sse_line("close", user=user, reason=reason, last=self._subscriber.cursor, seconds=seconds)

    def _opening(self) -> bytes:
        retry_ms = random.randint(*RETRY_MS)  # noqa: S311 -- spreads reconnects
        first = sse.json_frame(self._hello, event="hello", retry_ms=retry_ms)
        if self._start.reset is None:
            return first
        return first + reset_frame(self._start)

    def _body(self, opened: float) -> Iterator[bytes]:
        subscriber = self._subscriber
        ends = opened + self._rhythm.lifetime_s * random.uniform(0.8, 1.2)  # noqa: S311 -- spreads reconnects
        beat = opened + self._rhythm.heartbeat_s * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads heartbeats
        while subscriber.goodbye is None:
            if time.monotonic() >= ends:
                subscriber.close("lifetime")
            chunk = subscriber.take(min(beat, ends) - time.monotonic())
            if not chunk and not subscriber.live and subscriber.goodbye is None:
                chunk = self._replay()
            if chunk:
                yield chunk
            if time.monotonic() >= beat:
                beat = time.monotonic() + self._rhythm.heartbeat_s
                yield self._heartbeat()

    def _replay(self) -> bytes:
        """One page of the log from the cursor; live once nothing lies between it and the hub."""
        subscriber = self._subscriber
        try:
            page = self._read_log(subscriber.cursor, {*subscriber.audiences, CONTROL})
        except Exception as error:  # noqa: BLE001 -- whatever the driver raises: the stream stays open
            self._note_away(error)
            subscriber.wait_behind(DATABASE_RETRY_S)
            return b""
        self._log_is_away = False
        frames = self._shaped(page)
        moved = page.cursor > subscriber.cursor
        subscriber.cursor = max(subscriber.cursor, page.cursor)
        if not page.full:
            self._hub.go_live(subscriber)
        if not subscriber.live and not moved:
            # The tail is ahead of the log itself, which an older file has replaced: look again, but not at once.
            subscriber.wait_behind(DATABASE_RETRY_S)
        return frames

    def _shaped(self, page: Page) -> bytes:
        """The page's frames for this reader, up to a revocation."""
        subscriber, frames = self._subscriber, []
        for place, event in enumerate(page.events):
            if place % BREATHE_EVERY == 0:
                time.sleep(0)  # a long replay to a fast reader must not keep the loop from everybody else
            if event.audience == CONTROL:
                if is_revoked(subscriber, event):
                    subscriber.close("revoked")
                    break
            elif subscriber.wants(event.type, event.audience):
                frames.append(subscriber.reader.shape(event) or b"")
        return b"".join(frames)

    def _note_away(self, error: Exception) -> None:
        if not self._log_is_away:
            sse_line("error", user=self._subscriber.reader.viewer.name, reason=f"log away: {error}"[:200])
        self._log_is_away = True

    def _heartbeat(self) -> bytes:
        degraded = self._log_is_away or self._is_degraded()
        data = {"head": self._hub.cursor, "timestamp": utc_text(), "degraded": degraded}
        return sse.json_frame(data, event="heartbeat")

    def _bye(self) -> bytes:
        reason = self._subscriber.goodbye
        return sse.json_frame({"reason": reason, "poll": reason == "flag-off"}, event="bye")


def reset_frame(start: Start) -> bytes:
    """Tells a client that its cursor is unusable; the id is the head's, so that it goes on from there."""
    return sse.json_frame({"reason": start.reset, "head": start.head}, event="reset", id=start.head)

"""Reads what a subscriber has missed in chunks, from the ring buffer if it reaches back far enough or the log."""

import logging
from collections.abc import Callable, Collection, Sequence

from app.eventlog.audience import CONTROL
from app.eventlog.reader import CursorPruned, EventPage
from app.infra.concurrency import TimeSlice
from app.stream.chunks import Chunk, join_chunks
from app.stream.hub import Hub, is_revoked
from app.stream.ring_buffer import BufferedEvent
from app.stream.subscriber import Subscriber

log = logging.getLogger(__name__)

# Ring buffer entries examined for one chunk.
MAX_ENTRIES_PER_CHUNK = 500

ReadLog = Callable[[int, Collection[str]], EventPage]
"""Reads the log after a cursor for these audiences, on a connection of its own. Raises `CursorPruned`, and the
driver's errors while the log is unavailable."""


class LogUnavailable(Exception):
    """The log cannot be read now."""


class Replay:
    """Used by every transport. `next` only reads; the sender moves the subscriber's cursor."""

    def __init__(self, hub: Hub, read_log: ReadLog) -> None:
        self._hub, self._read_log = hub, read_log
        self.log_is_away = False

    def next(self, subscriber: Subscriber) -> Chunk:
        """Return the next chunk after the cursor. It may have no bytes, and at the end of the log it moves nothing.

        A revocation in the range closes the stream. So does a cursor below the log's floor, which may have risen since
        then: the client reconnects and gets a `reset`. Raises `LogUnavailable`.
        """
        cursor = subscriber.cursor  # it may move during the read
        try:
            entries, upto = self._read_entries(subscriber, cursor)
        except CursorPruned:
            subscriber.close("drain")
            return Chunk(b"", cursor, cursor, 0)
        if any(entry.event.audience == CONTROL and is_revoked(subscriber, entry.event) for entry in entries):
            subscriber.close("revoked")
            return Chunk(b"", cursor, cursor, 0)
        return next(iter(join_chunks(entries, subscriber.encoding, subscriber.audiences, cursor, upto, TimeSlice())))

    def _read_entries(self, subscriber: Subscriber, cursor: int) -> tuple[Sequence[BufferedEvent], int]:
        # The order matters: on native threads the tail may advance between any two of these.
        head = self._hub.cursor
        entries = self._hub.ring.after(cursor, MAX_ENTRIES_PER_CHUNK)
        if cursor >= self._hub.ring.floor:
            last = entries[-1].event.id if entries else cursor
            return entries, last if len(entries) == MAX_ENTRIES_PER_CHUNK else max(last, head)
        page = self._read_from_log(cursor, {*subscriber.audiences, CONTROL})
        return [BufferedEvent(event) for event in page.events], max(page.cursor, cursor)

    def _read_from_log(self, cursor: int, audiences: Collection[str]) -> EventPage:
        try:
            page = self._read_log(cursor, audiences)
        except CursorPruned:
            raise
        except Exception as error:
            if not self.log_is_away:
                log.error("cannot read the log, lagging streams wait: %s", str(error)[:200])
            self.log_is_away = True
            raise LogUnavailable(str(error)) from error
        self.log_is_away = False
        return page

"""What a reader has missed, a chunk at a time: from the ring where it reaches back far enough, else from the log."""

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

# Ring entries looked at for one chunk.
MAX_ENTRIES_PER_CHUNK = 500

ReadLog = Callable[[int, Collection[str]], EventPage]
"""The log after a cursor for these audiences; opens and gives back its own connection. Raises `Pruned`, and whatever
the driver raises while the log is away."""


class LogUnavailable(Exception):
    """The log cannot be read now."""


class Replay:
    """Used by every transport: `next` only looks, whoever sends moves the reader's cursor."""

    def __init__(self, hub: Hub, read_log: ReadLog) -> None:
        self._hub, self._read_log = hub, read_log
        self.log_is_away = False

    def next(self, subscriber: Subscriber) -> Chunk:
        """From the reader's cursor as far as one chunk goes; it may hold no bytes, and lead nowhere at the end.

        A revocation on the way ends the stream, and so does a cursor below which the log has been pruned meanwhile: its
        client comes back, and is answered with a `reset`. Raises `LogAway`.
        """
        cursor = subscriber.cursor  # it may move during the look
        try:
            entries, upto = self._look(subscriber, cursor)
        except CursorPruned:
            subscriber.close("drain")
            return Chunk(b"", cursor, cursor, 0)
        if any(entry.event.audience == CONTROL and is_revoked(subscriber, entry.event) for entry in entries):
            subscriber.close("revoked")
            return Chunk(b"", cursor, cursor, 0)
        return next(iter(join_chunks(entries, subscriber.form, subscriber.audiences, cursor, upto, TimeSlice())))

    def _look(self, subscriber: Subscriber, cursor: int) -> tuple[Sequence[BufferedEvent], int]:
        # In this order: on real threads the tail may go on between any two of them.
        head = self._hub.cursor
        entries = self._hub.ring.after(cursor, MAX_ENTRIES_PER_CHUNK)
        if cursor >= self._hub.ring.floor:
            last = entries[-1].event.id if entries else cursor
            return entries, last if len(entries) == MAX_ENTRIES_PER_CHUNK else max(last, head)
        page = self._read(cursor, {*subscriber.audiences, CONTROL})
        return [BufferedEvent(event) for event in page.events], max(page.cursor, cursor)

    def _read(self, cursor: int, audiences: Collection[str]) -> EventPage:
        try:
            page = self._read_log(cursor, audiences)
        except CursorPruned:
            raise
        except Exception as error:
            if not self.log_is_away:
                log.error("the log is away, readers that are behind wait: %s", str(error)[:200])
            self.log_is_away = True
            raise LogUnavailable(str(error)) from error
        self.log_is_away = False
        return page

"""Keeps the newest events in memory, so that clients that resume soon cost no database query."""

import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from app.eventlog.reader import Event
from app.infra.clock import parse_utc
from app.stream.formats import EventFormat

MAX_EVENTS = 5_000
MAX_BYTES = 16 * 1024 * 1024
# Rough size of an event in memory: the objects around it, and its payload as a dict and in two formats.
EVENT_OVERHEAD_BYTES, PAYLOAD_COPIES = 1_000, 3
# Dropped entries are removed from the lists in batches of this size, and before they outnumber the kept ones.
_COMPACT_EVERY = 1_000


class BufferedEvent:
    """An event with its frames, each encoded when it is first read in a format and then shared."""

    __slots__ = ("_frames", "appended_at", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.appended_at = parse_utc(event.timestamp).timestamp()
        self._frames: dict[EventFormat, bytes | None] = {}

    def frame(self, event_format: EventFormat) -> bytes | None:
        """Return the encoded frame; None if this format does not carry events of this type."""
        if event_format not in self._frames:
            self._frames[event_format] = event_format(self.event)
        return self._frames[event_format]

    def has_frame(self, event_format: EventFormat) -> bool:
        return event_format in self._frames

    @property
    def weight(self) -> int:
        """Approximate size in memory in bytes."""
        return EVENT_OVERHEAD_BYTES + PAYLOAD_COPIES * self.event.size


class RingBuffer:
    """Every event above `floor` that the tail has read, within limits; the oldest are dropped first. Thread-safe."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._entries: list[BufferedEvent] = []
        self._ids: list[int] = []
        self._first = 0
        self._bytes = 0
        self._lock = threading.RLock()
        self.floor = 0

    def __len__(self) -> int:
        return len(self._ids) - self._first

    def clear(self, floor: int) -> None:
        """Start again with an empty buffer that begins at `floor`."""
        with self._lock:
            self._entries, self._ids = [], []
            self._first = self._bytes = 0
            self.floor = floor

    def prefill(self, events: Iterable[Event], floor: int, upto: int) -> None:
        """Add older events: all those above `floor` up to `upto`, as far as they fit.

        If the buffer's own floor has passed `upto` there would be a gap, so they are not added.
        """
        with self._lock:
            if upto < self.floor:
                return
            newer, ring_floor = self.after(self.floor), self.floor
            self.clear(floor)
            for event in events:
                if event.id <= ring_floor:
                    self.add(event)
            for entry in newer:
                self._append(entry)

    def add(self, event: Event) -> None:
        """Append the next event, in order."""
        self._append(BufferedEvent(event))

    def after(self, cursor: int, limit: int | None = None) -> Sequence[BufferedEvent]:
        """Entries above `cursor`, oldest first. Complete only if `cursor` is not below `floor`, checked afterwards."""
        with self._lock:
            start = bisect_right(self._ids, cursor, self._first)
            return self._entries[start:] if limit is None else self._entries[start : start + limit]

    def _append(self, entry: BufferedEvent) -> None:
        with self._lock:
            self._entries.append(entry)
            self._ids.append(entry.event.id)
            self._bytes += entry.weight
            while len(self) > self._max_events or (self._bytes > self._max_bytes and len(self) > 1):
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        entry = self._entries[self._first]
        self._bytes -= entry.weight
        self.floor = entry.event.id
        self._first += 1
        if self._first >= min(_COMPACT_EVERY, len(self)):
            del self._entries[: self._first], self._ids[: self._first]
            self._first = 0

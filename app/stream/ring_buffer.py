"""The newest events in memory, so that whoever resumes soon needs no look at the database."""

import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from app.eventlog.reader import Event
from app.infra.clock import parse_utc
from app.stream.formats import EventFormat

MAX_EVENTS = 5_000
MAX_BYTES = 16 * 1024 * 1024
# Rough weight of an event in memory: the objects around it, and its payload as a dict and in two shapes.
EVENT_OVERHEAD_BYTES, PAYLOAD_COPIES = 1_000, 3
# Dropped entries are cut off the lists so many at a time, and before they outnumber what is kept.
_COMPACT_EVERY = 1_000


class BufferedEvent:
    """An event with its frames: made when somebody first reads it in a shape, then shared by all."""

    __slots__ = ("_frames", "appended_at", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.appended_at = parse_utc(event.timestamp).timestamp()
        self._frames: dict[EventFormat, bytes | None] = {}

    def frame(self, shape: EventFormat) -> bytes | None:
        """None where this shape does not carry events of this type."""
        if shape not in self._frames:
            self._frames[shape] = shape(self.event)
        return self._frames[shape]

    def has_frame(self, shape: EventFormat) -> bool:
        return shape in self._frames

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        return EVENT_OVERHEAD_BYTES + PAYLOAD_COPIES * self.event.size


class RingBuffer:
    """Every event above `floor` that the tail has seen, within bounds; the oldest go first. Safe between threads."""

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
        """Begin anew: nothing is known up to `floor`."""
        with self._lock:
            self._entries, self._ids = [], []
            self._first = self._bytes = 0
            self.floor = floor

    def prefill(self, events: Iterable[Event], floor: int, upto: int) -> None:
        """Older events, all of those from above `floor` to `upto`; what does not fit any more is left out.

        Where the ring has moved on past `upto` meanwhile they would leave a gap, and are not taken.
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
                self._keep(entry)

    def add(self, event: Event) -> None:
        """The next event, in order."""
        self._keep(BufferedEvent(event))

    def after(self, cursor: int, limit: int | None = None) -> Sequence[BufferedEvent]:
        """Entries above `cursor`, oldest first; complete only if `cursor` is not below `floor`, asked afterwards."""
        with self._lock:
            start = bisect_right(self._ids, cursor, self._first)
            return self._entries[start:] if limit is None else self._entries[start : start + limit]

    def _keep(self, entry: BufferedEvent) -> None:
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

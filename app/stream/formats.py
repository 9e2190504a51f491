"""The shapes in which an event goes out. Each event is encoded once a shape, however many read it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from app.eventlog.reader import Event
from app.stream import sse

log = logging.getLogger(__name__)

CACHED_HTML_FRAMES = 1_000


@dataclass(frozen=True, slots=True, eq=False)
class EventFormat:
    """From an event to its frame, or None where this shape does not carry events of its type."""

    name: str
    encode: Callable[[Event], bytes | None]

    def __call__(self, event: Event) -> bytes | None:
        return self.encode(event)


RECONCILIATION_TYPES = frozenset({"reconciliation.update", "reconciliation.verified", "command.status"})


def _encode_json(event: Event) -> bytes:
    data = {"type": event.type, "timestamp": event.timestamp, "data": event.data}
    return sse.json_frame(data, event=event.type, id=event.id)


def _encode_reconciliation(event: Event) -> bytes | None:
    """Three types, the bare payload; its readers call an unknown phase a timeout."""
    if event.type not in RECONCILIATION_TYPES:
        return None
    data = event.data
    if data.get("phase") == "unknown":
        data = {**data, "phase": "timeout"}
    return sse.json_frame(data, event=event.type, id=event.id)


def _encode_events(event: Event) -> bytes:
    data = {"id": event.id, "type": event.type, "timestamp": event.timestamp, "data": event.data}
    return sse.json_frame(data, id=event.id)


def _encode_sse(event: Event) -> bytes:
    return sse.json_frame({"type": event.type, "data": event.data, "timestamp": event.timestamp}, id=event.id)


JSON_FORMAT = EventFormat("json", _encode_json)
"""The stream's own shape: named by type."""
RECONCILIATION_FORMAT = EventFormat("reconciliation", _encode_reconciliation)
"""`/reconciliation/stream`."""
EVENTS_FORMAT = EventFormat("events", _encode_events)
"""`/api/events/stream`: unnamed, the id inside too."""
SSE_FORMAT = EventFormat("sse", _encode_sse)
"""`/api/sse`: unnamed."""


def build_html_format(render: Callable[[Event], str | None]) -> EventFormat:
    """Fragments for pages. What a page only acts on goes as a `signal`, so that it moves the cursor too.

    The newest `KEPT` frames are kept: live, replay and polling then share one rendering.
    """

    @lru_cache(maxsize=CACHED_HTML_FRAMES)
    def encode(event: Event) -> bytes:
        try:
            fragments = render(event)
        except Exception:  # one event that no template can show must not end a stream, nor hold up those behind it
            log.exception("event %s (%s) cannot be shown and goes out as a signal", event.id, event.type)
            fragments = None
        if fragments is None:
            return sse.json_frame({"type": event.type}, event="signal", id=event.id)
        return sse.frame(fragments, id=event.id)

    return EventFormat("html", encode)

"""The formats in which events are sent. Each event is encoded once per format, however many clients read it."""

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
    """Encodes an event as a frame, or returns None if this format does not carry events of its type."""

    name: str
    encode: Callable[[Event], bytes | None]

    def __call__(self, event: Event) -> bytes | None:
        return self.encode(event)


RECONCILIATION_TYPES = frozenset({"reconciliation.update", "reconciliation.verified", "command.status"})


def _encode_json(event: Event) -> bytes:
    data = {"type": event.type, "timestamp": event.timestamp, "data": event.data}
    return sse.json_frame(data, event=event.type, id=event.id)


def _encode_reconciliation(event: Event) -> bytes | None:
    """Three types with the bare payload. Its clients know the phase `unknown` as `timeout`."""
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
"""The stream's own format: frames are named by event type."""
RECONCILIATION_FORMAT = EventFormat("reconciliation", _encode_reconciliation)
"""`/reconciliation/stream`."""
EVENTS_FORMAT = EventFormat("events", _encode_events)
"""`/api/events/stream`: unnamed frames, with the id in the data too."""
SSE_FORMAT = EventFormat("sse", _encode_sse)
"""`/api/sse`: unnamed frames."""


def build_html_format(render: Callable[[Event], str | None]) -> EventFormat:
    """HTML fragments for pages. Events without a fragment are sent as a `signal`, so that they move the cursor too.

    The newest `CACHED_HTML_FRAMES` frames are cached, so that live delivery, replay and polling share one rendering.
    """

    @lru_cache(maxsize=CACHED_HTML_FRAMES)
    def encode(event: Event) -> bytes:
        try:
            fragments = render(event)
        except Exception:  # one event that no template can render must not end a stream or delay later events
            log.exception("cannot render an event, sending it as a signal: event_id=%s type=%s", event.id, event.type)
            fragments = None
        if fragments is None:
            return sse.json_frame({"type": event.type}, event="signal", id=event.id)
        return sse.frame(fragments, id=event.id)

    return EventFormat("html", encode)

"""The shapes in which an event goes out. Each event is encoded once a shape, however many read it."""

import logging
from collections.abc import Callable
from functools import lru_cache

from app.eventlog.read import Event
from app.stream import sse

log = logging.getLogger(__name__)

KEPT = 1_000

Shape = Callable[[Event], bytes | None]
"""From an event to its frame, or None where this shape does not carry events of its type."""

RECONCILIATION_TYPES = frozenset({"reconciliation.update", "reconciliation.verified", "command.status"})


def as_json(event: Event) -> bytes:
    """The stream's own shape: named by type."""
    data = {"type": event.type, "timestamp": event.timestamp, "data": event.data}
    return sse.json_frame(data, event=event.type, id=event.id)


def as_reconciliation(event: Event) -> bytes | None:
    """`/reconciliation/stream`: three types, the bare payload; its readers call an unknown phase a timeout."""
    if event.type not in RECONCILIATION_TYPES:
        return None
    data = event.data
    if data.get("phase") == "unknown":
        data = {**data, "phase": "timeout"}
    return sse.json_frame(data, event=event.type, id=event.id)


def as_events(event: Event) -> bytes:
    """`/api/events/stream`: unnamed, the id inside too."""
    data = {"id": event.id, "type": event.type, "timestamp": event.timestamp, "data": event.data}
    return sse.json_frame(data, id=event.id)


def as_sse(event: Event) -> bytes:
    """`/api/sse`: unnamed."""
    return sse.json_frame({"type": event.type, "data": event.data, "timestamp": event.timestamp}, id=event.id)


def html_shape(render: Callable[[Event], str | None]) -> Shape:
    """Fragments for pages. What a page only acts on goes as a `signal`, so that it moves the cursor too.

    The newest `KEPT` frames are kept: live, replay and polling then share one rendering.
    """

    @lru_cache(maxsize=KEPT)
    def as_html(event: Event) -> bytes:
        try:
            fragments = render(event)
        except Exception:  # one event that no template can show must not end a stream, nor hold up those behind it
            log.exception("event %s (%s) cannot be shown and goes out as a signal", event.id, event.type)
            fragments = None
        if fragments is None:
            return sse.json_frame({"type": event.type}, event="signal", id=event.id)
        return sse.frame(fragments, id=event.id)

    return as_html

"""The one writer of the `event` table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.clock import utc_text
from app.eventlog import audience as audiences
from app.eventlog import payloads
from app.eventlog.models import EventRow


class BadEvent(ValueError):
    """The event cannot be appended; `field` names what is wrong with it, the text says what was expected."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(expected)
        self.field = field


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append. `data` of a known type is its payload model or a mapping that the model accepts."""

    type: str
    data: payloads.Payload | Mapping[str, Any]
    audience: str = audiences.EVERYONE


def append(session: Session, events: Sequence[NewEvent]) -> list[int]:
    """Insert `events` in order and return their ids; call it last inside `db.write()`.

    The session is flushed first, so that every other change is made before the log is locked: two
    writers that took these locks in different orders would wait for each other for ever.
    Raises `BadEvent`, and then nothing is inserted.
    """
    rows = [_row(event) for event in events]
    if not rows:
        return []
    session.flush()
    inserted = session.execute(
        sa.insert(EventRow).returning(EventRow.id, sort_by_parameter_order=True), rows
    )
    return list(inserted.scalars())


def _row(event: NewEvent) -> dict[str, str]:
    if not payloads.is_valid_type(event.type):
        raise BadEvent("type", "lower-case words of letters, digits and _, joined by dots, like job.finished")
    if not audiences.is_valid(event.audience):
        raise BadEvent("audience", "everyone, role:NAME or user:NAME")
    text = json.dumps(_checked(event), separators=(",", ":"), ensure_ascii=False)
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > payloads.MAX_PAYLOAD_BYTES:
        raise BadEvent("data", f"at most {payloads.MAX_PAYLOAD_BYTES} bytes as JSON, this has {size}")
    return {"type": event.type, "audience": event.audience, "data_json": text, "created_at": utc_text()}


def _checked(event: NewEvent) -> Mapping[str, Any]:
    model = payloads.KNOWN.get(event.type)
    if isinstance(event.data, payloads.Payload):
        if model is None or not isinstance(event.data, model):
            raise TypeError(f"{type(event.data).__name__} is not the payload of {event.type}")
        return event.data.wire()
    return event.data if model is None else model.model_validate(event.data).wire()

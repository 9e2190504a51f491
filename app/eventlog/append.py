"""Appends events to the `event` table; no other module writes it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Flask
from pydantic import ValidationError
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

from app.components import components
from app.db import EVENTS_APPENDED
from app.eventlog import audience as audiences
from app.eventlog import event_types
from app.infra.clock import utc_text
from app.infra.problems import list_errors

# SQL text for the driver: SQLAlchemy's insert of many rows that returns their ids costs three times as much. Both keep
# the order of the rows, and ids on SQLite have no gap, because a trigger refuses one.
_SQLITE_INSERT = "INSERT INTO event (type, audience, data_json, created_at) VALUES (?, ?, ?, ?)"
_SQLITE_LAST_ID = "SELECT last_insert_rowid()"
_POSTGRES_INSERT = """INSERT INTO event (type, audience, data_json, created_at)
    SELECT type, audience, data_json, %s
    FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS new (type, audience, data_json, place)
    ORDER BY place RETURNING id"""
_DEPTH = f"JSON nested at most {event_types.MAX_DEPTH} deep"


class InvalidEvent(ValueError):
    """The event cannot be appended. `field` names the invalid field, the text says what was expected."""

    def __init__(self, field: str, expected: str, *, too_large: bool = False) -> None:
        super().__init__(expected)
        self.field, self.too_large = field, too_large


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append. `data` of a known type is its payload model or a mapping that the model accepts."""

    type: str
    data: event_types.Payload | Mapping[str, Any]
    audience: str = audiences.EVERYONE


@dataclass(frozen=True, slots=True)
class PreparedEvent:
    """A validated event, encoded as JSON and ready to insert."""

    type: str
    audience: str
    data_json: str


DeriveEvents = Callable[[Session, Sequence[PreparedEvent]], Sequence[NewEvent]]
"""Derives events from those about to be inserted: it may write rows in the session and returns the derived events."""


def register_derive(app: Flask, derive: DeriveEvents) -> None:
    """Let `derive` add derived events to every append of this application, in the same commit."""
    components(app).derive_events = derive


def append(session: Session, events: Sequence[NewEvent | PreparedEvent], *, at: str | None = None) -> list[int]:
    """Insert `events` in order, followed by the events derived from them, and return the ids of `events`.

    Call it last inside `db.write()`. The session is flushed first, so that every other change is made before the log is
    locked: two writers that took these locks in different orders would deadlock. Prepare large batches before the
    transaction, because all other writers wait for its end. `at` is now, except in the hour that the demo invents.
    Raises `InvalidEvent`; then nothing is inserted.
    """
    prepared = [prepare(event, place) if isinstance(event, NewEvent) else event for place, event in enumerate(events)]
    if not prepared:
        return []
    derive = components().derive_events
    following = derive(session, prepared) if derive is not None else ()
    session.flush()
    created_at = at or utc_text()
    ids = _insert(session.connection(), [*prepared, *map(prepare, following)], created_at)
    session.info[EVENTS_APPENDED] = True
    return list(ids[: len(prepared)])


def prepare(event: NewEvent, place: int = 0) -> PreparedEvent:
    """Validate `event` and encode its payload as JSON; `place` is its index in its batch. Raises `InvalidEvent`."""
    if not event_types.is_valid_type(event.type):
        expected = "lower-case words of letters, digits and _, joined by dots, like job.finished"
        raise InvalidEvent(f"{place}.type", expected)
    if not audiences.is_valid(event.audience):
        raise InvalidEvent(f"{place}.audience", "everyone, role:NAME or user:NAME")
    return PreparedEvent(event.type, event.audience, _encode_data(event, f"{place}.data"))


def _insert(connection: Connection, events: Sequence[PreparedEvent], created_at: str) -> Sequence[int]:
    if connection.dialect.name == "sqlite":
        rows = [(event.type, event.audience, event.data_json, created_at) for event in events]
        connection.exec_driver_sql(_SQLITE_INSERT, rows)
        last: int = connection.exec_driver_sql(_SQLITE_LAST_ID).scalar_one()
        return range(last - len(rows) + 1, last + 1)
    columns = [
        [event.type for event in events],
        [event.audience for event in events],
        [event.data_json for event in events],
    ]
    return connection.exec_driver_sql(_POSTGRES_INSERT, (created_at, *columns)).scalars().all()


def _encode_data(event: NewEvent, field: str) -> str:
    try:
        data = _validated_data(event)
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except ValidationError as error:
        raise InvalidEvent(*list_errors(error, field)[0]) from error
    except RecursionError:
        raise InvalidEvent(field, _DEPTH) from None
    except UnicodeEncodeError:
        raise InvalidEvent(field, "text without unpaired surrogates") from None
    except ValueError:
        raise InvalidEvent(field, "JSON has no NaN and no infinity") from None
    if size > event_types.MAX_PAYLOAD_BYTES:
        raise InvalidEvent(field, f"at most {event_types.MAX_PAYLOAD_BYTES} bytes, this has {size}", too_large=True)
    if event_types.is_too_deep(data, text):
        raise InvalidEvent(field, _DEPTH)
    return text


def _validated_data(event: NewEvent) -> Mapping[str, Any]:
    model = event_types.PAYLOAD_MODELS.get(event.type)
    if isinstance(event.data, event_types.Payload):
        if model is None or not isinstance(event.data, model):
            raise TypeError(f"{type(event.data).__name__} is not the payload of {event.type}")
        return event.data.to_wire()
    return event.data if model is None else event_types.validate_payload(model, event.data).to_wire()

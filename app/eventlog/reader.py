"""Reading the log. A row that cannot be read is logged, counted and skipped: the readers behind it go on."""

import json
import logging
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.eventlog import audience as audiences
from app.eventlog import event_types
from app.eventlog.audience import Viewer
from app.eventlog.models import EventFloor, EventGeneration, EventRow
from app.infra.clock import parse_utc, utc_text

log = logging.getLogger(__name__)

_Row = sa.Row[*tuple[Any, ...]]

PAGE_ROWS = 500
MAX_REMEMBERED_ROWS = 10_000
# Tables and not mapped classes, and made once: the ORM's part would cost more than SQLite's.
_event = EventRow.__table__.c
_floor = EventFloor.__table__.c
_COLUMNS = (_event.id, _event.type, _event.audience, _event.data_json, _event.created_at)
_AFTER = sa.select(*_COLUMNS).where(_event.id > sa.bindparam("cursor")).order_by(_event.id).limit(sa.bindparam("limit"))
_generation = EventGeneration.__table__.c
_newest = sa.select(sa.func.max(_generation.id)).scalar_subquery()
_BOUNDS = sa.select(
    sa.select(sa.func.max(_event.id)).scalar_subquery(),
    _floor.pruned_through,
    _generation.generation,
    _generation.first_id,
).select_from(EventFloor.__table__.join(EventGeneration.__table__, _generation.id == _newest))


@dataclass(frozen=True, slots=True)
class Event:
    """A committed change. `timestamp` is ISO 8601 UTC; `data` is the payload, `size` its length in the log."""

    id: int
    type: str
    audience: str
    data: dict[str, Any] = field(hash=False)  # compared all the same: two events are equal only in everything
    timestamp: str
    size: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order, and the last id looked at, which may lie above the last event's (skipped rows)."""

    events: list[Event]
    cursor: int
    full: bool


@dataclass(frozen=True, slots=True)
class EventRows:
    """Rows as they are stored, in order, and the last id looked at; `readable` makes events of them."""

    rows: Sequence[_Row]
    cursor: int
    full: bool


class CursorPruned(Exception):
    """The cursor lies below the floor: what came after it is not all there any more."""


class UnreadableRows:
    """How many rows this process could not read. Each id counts and is logged once, however many readers meet it."""

    def __init__(self) -> None:
        self.count = 0
        self._noted: dict[int, None] = {}

    def record(self, row: _Row, why: str) -> None:
        if row.id in self._noted:
            return
        if len(self._noted) >= MAX_REMEMBERED_ROWS:
            del self._noted[next(iter(self._noted))]
        self._noted[row.id] = None
        self.count += 1
        log.error("unreadable event skipped id=%s type=%.100r time=%s: %s", row.id, row.type, row.created_at, why)


unreadable_rows = UnreadableRows()


class LogBounds(NamedTuple):
    head: int
    floor: int
    generation: str
    """Another one since an older database was put back."""
    first: int
    """Where the generation begins. Cursors below it were given before: nobody knows what they have missed."""

    def is_lost(self, cursor: int) -> bool:
        return cursor < self.first - 1


def head(session: Session) -> int:
    """The highest id that was ever in the log, 0 for an empty one."""
    return bounds(session).head


def floor(session: Session) -> int:
    """The highest id ever pruned: a cursor below it has missed something."""
    return bounds(session).floor


def bounds(session: Session) -> LogBounds:
    """Head, floor and generation at one look."""
    highest, pruned, generation, first = session.execute(_BOUNDS).one()
    return LogBounds(int(max(highest or 0, pruned, first - 1)), int(pruned), generation, first)


def read_after(session: Session, cursor: int, limit: int = PAGE_ROWS) -> EventPage:
    """The next rows above `cursor`, whatever their audience; the tail's way of reading."""
    return _page(session.execute(_AFTER, {"cursor": cursor, "limit": limit}).all(), cursor, limit)


def read_visible(session: Session, cursor: int, audience_names: Collection[str], limit: int = PAGE_ROWS) -> EventPage:
    """The next rows above `cursor` for these audiences.

    The cursor of the last page (not full) is the head of the log at that look, so that it can be compared with others.
    """
    found = fetch_rows(session, cursor, audience_names, limit)
    return EventPage(list(decode_rows(found.rows)), found.cursor, found.full)


def fetch_rows(
    session: Session, cursor: int, audience_names: Collection[str], limit: int, max_chars: float = math.inf
) -> EventRows:
    """Like `seen_by`, for those who decode the rows in slices. Full, too, once their payloads come to `max_chars`."""
    now = head(session)
    query = (
        sa.select(*_COLUMNS)
        .where(_event.id > cursor, _event.audience.in_(sorted(audience_names)))
        .order_by(_event.id)
        .limit(limit)
    )
    with session.execute(query) as result:
        rows = list(_take_chars(max_chars, result))
    last = rows[-1].id if rows else cursor
    full = len(rows) == limit or sum(map(_count_chars, rows)) >= max_chars
    return EventRows(rows, last if full else max(last, now), full)


def read_newest(session: Session, viewer: Viewer, limit: int, exclude_types: Collection[str] = ()) -> list[Event]:
    """The newest events that `viewer` may see, newest first; `exclude_types` are left out."""
    return read_newest_before(session, viewer, None, limit, exclude_types).events


def read_newest_before(
    session: Session, viewer: Viewer, before: int | None, limit: int, exclude_types: Collection[str] = ()
) -> EventPage:
    """The newest events below the id `before`; the page's cursor is the `before` of the next one."""
    query = sa.select(*_COLUMNS).where(_event.audience.in_(sorted(viewer.audiences)), _event.type.not_in(exclude_types))
    if before is not None:
        query = query.where(_event.id < before)
    rows = session.execute(query.order_by(_event.id.desc()).limit(limit)).all()
    return EventPage(list(decode_rows(rows)), rows[-1].id if rows else 0, len(rows) == limit)


def _page(rows: Sequence[_Row], cursor: int, limit: int) -> EventPage:
    last = rows[-1].id if rows else cursor
    return EventPage(list(decode_rows(rows)), last, len(rows) == limit)


def _take_chars(max_chars: float, rows: Iterable[_Row]) -> Iterable[_Row]:
    """The row with which they reach `max_chars` is the last."""
    chars = 0
    for row in rows:
        yield row
        chars += _count_chars(row)
        if chars >= max_chars:
            return


def _count_chars(row: _Row) -> int:
    return len(row.data_json or "")


def decode_rows(rows: Iterable[_Row]) -> Iterable[Event]:
    """The events of those rows that can be read."""
    for row in rows:
        try:
            yield _decode(row)
        except (ValueError, RecursionError) as error:
            unreadable_rows.record(row, str(error).splitlines()[0])


def _decode(row: _Row) -> Event:
    """Rows come from any program that may write to the table: trust nothing. Raises `ValueError`."""
    if not isinstance(row.type, str) or not event_types.is_valid_type(row.type):
        raise ValueError("bad type")
    if not isinstance(row.audience, str) or not audiences.is_valid(row.audience):
        raise ValueError("bad audience")
    data = _parse_payload(row.data_json)
    model = event_types.PAYLOAD_MODELS.get(row.type)
    if model is not None:
        _validate_payload(model, data)
    return Event(row.id, row.type, row.audience, data, _parse_time(row.created_at), len(row.data_json))


def _parse_payload(text: Any) -> dict[str, Any]:
    if not isinstance(text, str):
        raise ValueError("payload is not text")
    if len(text.encode()) > event_types.MAX_PAYLOAD_BYTES:
        raise ValueError(f"payload is over {event_types.MAX_PAYLOAD_BYTES} bytes")
    data = json.loads(text, parse_constant=_refuse_constant, parse_float=_parse_finite)
    if not isinstance(data, dict):
        raise ValueError("payload is not a JSON object")
    if event_types.is_too_deep(data, text):
        raise ValueError(f"payload is nested deeper than {event_types.MAX_DEPTH}")
    if "\\ud" in text.lower():
        json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair is no text: it could not be sent
    return data


def _parse_time(text: Any) -> str:
    """Programs write times as they are used to, as SQLite's `datetime('now')` for one."""
    try:
        return utc_text(parse_utc(text))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("bad time") from error


def _validate_payload(model: type[event_types.Payload], data: dict[str, Any]) -> None:
    try:
        event_types.validate_payload(model, data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ValueError(f"payload field {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse_finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # it would go out as Infinity, which no reader takes
        raise ValueError(f"{text[:20]} is no number that can be kept")
    return number

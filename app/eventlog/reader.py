"""Reads the event log. A row that cannot be decoded is logged, counted and skipped, so that reading continues."""

import json
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.eventlog import audience as audiences
from app.eventlog import event_types
from app.eventlog.audience import Viewer
from app.eventlog.models import EventFloor, EventGeneration, EventRow, build_activity_condition
from app.infra.clock import parse_utc, utc_text
from app.infra.concurrency import yield_to_loop
from app.infra.problems import list_errors

log = logging.getLogger(__name__)

_Row = sa.Row[*tuple[Any, ...]]

PAGE_ROWS = 500
IDS_PER_WINDOW = 1_000
MAX_REMEMBERED_ROWS = 10_000
# Core tables instead of mapped classes, built once: the ORM would cost more than SQLite itself.
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
    """A committed change. `timestamp` is ISO 8601 in UTC, `data` the payload, `size` its length in the log."""

    id: int
    type: str
    audience: str
    data: dict[str, Any] = field(hash=False)  # still compared: two events are equal only if all fields are
    timestamp: str
    size: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order, and the last id that was read, which may lie above the last event's (skipped rows)."""

    events: list[Event]
    cursor: int
    full: bool


@dataclass(frozen=True, slots=True)
class EventRows:
    """Rows as stored, in order, and the last id that was read; `decode_rows` turns them into events."""

    rows: Sequence[_Row]
    cursor: int
    full: bool


class CursorPruned(Exception):
    """The cursor lies below the floor: some events after it have been deleted."""


class UnreadableRows:
    """Counts rows that this process could not decode. Each id is counted and logged once, however often it is read."""

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
    """Changes when an older database is restored."""
    first: int
    """First id of the generation. Cursors below it are older: what they have missed is unknown."""

    def is_lost(self, cursor: int) -> bool:
        return cursor < self.first - 1


def head(session: Session) -> int:
    """The highest id that was ever in the log; 0 for an empty one."""
    return bounds(session).head


def floor(session: Session) -> int:
    """The highest id ever pruned; a cursor below it has missed events."""
    return bounds(session).floor


def bounds(session: Session) -> LogBounds:
    """Head, floor and generation in one query."""
    highest, pruned, generation, first = session.execute(_BOUNDS).one()
    return LogBounds(int(max(highest or 0, pruned, first - 1)), int(pruned), generation, first)


def read_after(session: Session, cursor: int, limit: int = PAGE_ROWS) -> EventPage:
    """Read the next events above `cursor` for all audiences; used by the tail."""
    return _page(session.execute(_AFTER, {"cursor": cursor, "limit": limit}).all(), cursor, limit)


_NEWEST_ID = sa.select(sa.func.max(_event.id))


def read_type_after(session: Session, cursor: int, event_type: str, limit: int = PAGE_ROWS) -> EventPage:
    """Like `read_after`, for one type. The cursor of a page that is not full is the newest id, also of an older log."""
    now: int = session.scalar(_NEWEST_ID) or 0
    if now <= cursor:
        return EventPage([], now, full=False)
    mine = (_event.id > cursor, _event.id <= now, _event.type == event_type)
    rows = session.execute(sa.select(*_COLUMNS).where(*mine).order_by(_event.id).limit(limit)).all()
    full = len(rows) == limit
    return EventPage(list(decode_rows(rows)), rows[-1].id if full else now, full)


def read_visible(session: Session, cursor: int, audience_names: Collection[str], limit: int = PAGE_ROWS) -> EventPage:
    """Read the next events above `cursor` for these audiences.

    The cursor of the last page (not full) is the head of the log at that time, so that it is comparable with others.
    """
    found = fetch_rows(session, cursor, audience_names, limit)
    return EventPage(list(decode_rows(found.rows)), found.cursor, found.full)


def fetch_rows(
    session: Session, cursor: int, audience_names: Collection[str], limit: int, max_chars: float = math.inf
) -> EventRows:
    """Like `read_visible`, but the caller decodes the rows in slices. Also full once payloads reach `max_chars`."""
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


def read_newest_before(
    session: Session,
    viewer: Viewer,
    before: int | None,
    limit: int,
    exclude_types: Collection[str] = (),
    *,
    only_activity: bool = False,
) -> EventPage:
    """Read the newest events below the id `before` that `viewer` may see, newest first, without `exclude_types`.

    `only_activity` leaves out what `build_activity_condition` does. The page's cursor is the `before` of the next page.
    """
    query = sa.select(*_COLUMNS).where(_event.audience.in_(sorted(viewer.audiences)), _event.type.not_in(exclude_types))
    if only_activity:
        query = query.where(sa.text(build_activity_condition(session.get_bind().dialect.name)))
    if before is not None:
        query = query.where(_event.id < before)
    rows = session.execute(query.order_by(_event.id.desc()).limit(limit)).all()
    return EventPage(list(decode_rows(rows)), rows[-1].id if rows else 0, len(rows) == limit)


def read_windows_back(
    session: Session, most: int, *conditions: sa.ColumnElement[bool]
) -> Iterator[tuple[Sequence[_Row], int]]:
    """Read the log backwards in at most `most` windows of ids, because it has no index by type, time or job.

    Yields the rows of each window that fit the conditions, newest first, and the id before the window.
    """
    end = head(session)
    for _ in range(most):
        start = max(end - IDS_PER_WINDOW, 0)
        window = sa.select(*_COLUMNS).where(_event.id > start, _event.id <= end, *conditions)
        yield session.execute(window.order_by(_event.id.desc())).all(), start
        if start == 0:
            return
        end = start
        yield_to_loop()


def first_time_after(session: Session, event_id: int) -> str | None:
    """The time of the first event above this id, as it was stored."""
    oldest = sa.select(_event.created_at).where(_event.id > event_id).order_by(_event.id).limit(1)
    found: str | None = session.scalar(oldest)
    return found


def _page(rows: Sequence[_Row], cursor: int, limit: int) -> EventPage:
    last = rows[-1].id if rows else cursor
    return EventPage(list(decode_rows(rows)), last, len(rows) == limit)


def _take_chars(max_chars: float, rows: Iterable[_Row]) -> Iterable[_Row]:
    """Yield rows until their payloads reach `max_chars`, including the row that reaches it."""
    chars = 0
    for row in rows:
        yield row
        chars += _count_chars(row)
        if chars >= max_chars:
            return


def _count_chars(row: _Row) -> int:
    return len(row.data_json or "")


def decode_rows(rows: Iterable[_Row]) -> Iterable[Event]:
    """Yield the events of all rows that can be decoded."""
    for row in rows:
        try:
            yield _decode(row)
        except (ValueError, RecursionError) as error:
            unreadable_rows.record(row, str(error).splitlines()[0])


def _decode(row: _Row) -> Event:
    """Decode one row. Any program may have written it, so everything is validated. Raises `ValueError`."""
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
        json.dumps(data, ensure_ascii=False).encode()  # raises for an unpaired surrogate, which could not be sent
    return data


def _parse_time(text: Any) -> str:
    """Parse a time in any ISO 8601 form, because programs write different ones, such as SQLite's `datetime('now')`."""
    try:
        return utc_text(parse_utc(text))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("bad time") from error


def _validate_payload(model: type[event_types.Payload], data: dict[str, Any]) -> None:
    try:
        event_types.validate_payload(model, data)
    except ValidationError as error:
        path, wrong = list_errors(error)[0]
        raise ValueError(f"payload field {path}: {wrong}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse_finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # it would be sent as Infinity, which is not JSON
        raise ValueError(f"{text[:20]} is out of range for a number")
    return number

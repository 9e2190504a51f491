"""Pages of the audit: found in one index that holds all that can be filtered by, then read by their seq.

The order of the chain is the order of time (`chain.record` sees to it), so a span of time is a span of `seq`.
"""

import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.audit.count_cache import MOST, Totals
from app.audit.models import AuditRow
from app.audit.query_params import AuditQuery, Place
from app.audit.reader_pool import Budget, Fetch, Rows

Condition = sa.ColumnElement[bool]

COLUMNS = (
    "id", "seq", "timestamp", "actor", "action_type", "target", "stage", "outcome", "command_id", "before_state_json",
    "after_state_json", "command_params_json", "logs_json", "origin", "prev_hash", "hash",
)  # fmt: skip
_SORTED = {"actor": AuditRow.actor, "actionType": AuditRow.action_type, "target": AuditRow.target,
           "outcome": AuditRow.outcome}  # fmt: skip
# Where words are looked for.
_SEARCHED = (
    AuditRow.target, AuditRow.actor, AuditRow.action_type, AuditRow.origin, AuditRow.before_state_json,
    AuditRow.after_state_json, AuditRow.command_params_json, AuditRow.logs_json, AuditRow.command_id, AuditRow.hash,
)  # fmt: skip
# A search reads the entries themselves: so many at a time, and for no longer than this.
WINDOW = 5_000
LONG = 200_000
SEARCH_S = 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """`total` is exact, or the least there are; `looked_at`: entries read where a search stopped before its end."""

    rows: list[dict[str, Any]]
    total: int = 0
    total_is_minimum: bool = False
    next: Place | None = None
    previous: Place | None = None
    looked_at: int | None = None
    first: int = 0
    head: tuple[int, str] = (0, "")


@dataclass(frozen=True, slots=True)
class Span:
    """The first and the last entry of the time that is asked for."""

    low: int
    high: int


def page(fetch: Fetch, asked: AuditQuery, totals: Totals) -> Found:
    """One page, on whatever thread `fetch` belongs to."""
    first, head = ends(fetch)
    span = _span(fetch, asked, first, head[0])
    if asked.q:
        return _searched(fetch, asked, span, head)
    where = matching(asked)
    total = span.high - span.low + 1 if not where else totals.count(fetch, key_of(asked, span), where, span)
    total = max(total, 0)
    place = asked.place
    backwards = place is not None and place.backwards
    offset = 0 if place is not None else (asked.page - 1) * asked.limit
    found = read(fetch, asked, span, place, asked.limit + 1, offset)
    more, found = len(found) > asked.limit, found[: asked.limit]
    if backwards:
        found.reverse()
    further, nearer = (True, more) if backwards else (more, place is not None or asked.page > 1)
    return Found(
        found,
        min(total, MOST),
        total > MOST,
        Place(key(asked, found[-1])) if found and further else None,
        Place(key(asked, found[0]), backwards=True) if found and nearer else None,
        head=head,
    )


def ends(fetch: Fetch) -> tuple[int, tuple[int, str]]:
    """The seq of the first entry; seq and hash of the last. Nothing: 1, and 0."""
    first = fetch(sa.select(sa.func.min(AuditRow.seq)))[0][0]
    last = fetch(sa.select(AuditRow.seq, AuditRow.hash).order_by(AuditRow.seq.desc()).limit(1))
    return first or 1, (last[0][0], last[0][1]) if last else (0, "")


def read(
    fetch: Fetch,
    asked: AuditQuery,
    span: Span,
    place: Place | None,
    limit: int,
    offset: int = 0,
    budget: Budget | None = None,
) -> list[dict[str, Any]]:
    """Entries in the order that is asked for, behind `place`, or before it in the opposite order."""
    descending = asked.descending != (place is not None and place.backwards)
    span, behind = _behind(asked, span, place, descending=descending)
    where = [*matching(asked), *behind]
    if not where and asked.sorts_by_time:
        # Without a gap and in order: a page lies where it is counted to be.
        span = Span(span.low, span.high - offset) if descending else Span(span.low + offset, span.high)
        offset = 0
    order = [column.desc() if descending else column.asc() for column in _order(asked)]
    # Of a long span sorted by anything else, walk the index that is in that order, not the span.
    is_long = not asked.sorts_by_time and span.high - span.low > LONG
    chosen = (
        sa.select(AuditRow.seq)
        .where(*_within(span, AuditRow.seq + 0 if is_long else AuditRow.seq), *where)
        .order_by(*order)
        .limit(limit)
    )
    chosen = chosen.offset(offset) if offset else chosen
    rows = sa.select(*_columns()).where(AuditRow.seq.in_(chosen)).order_by(*order)
    return _named(fetch(rows, budget))


def _named(rows: Rows) -> list[dict[str, Any]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def matching(asked: AuditQuery) -> list[Condition]:
    named = (
        (AuditRow.command_id, asked.command_id),
        (AuditRow.actor, asked.actor),
        (AuditRow.action_type, asked.action_type),
        (AuditRow.target, asked.target),
    )
    where: list[Condition] = [column == value for column, value in named if value is not None]
    if asked.outcome is not None:
        # Nearly all have the same outcome: beside another filter its index is the wrong one to walk through.
        is_usual = asked.outcome == "success" and not asked.sorts_by_time
        outcome: Any = AuditRow.outcome.concat("") if where or is_usual else AuditRow.outcome
        where.append(outcome == asked.outcome)
    return where


def key_of(asked: AuditQuery, span: Span) -> tuple[Any, ...]:
    """Names what `totals` counts."""
    return (asked.command_id, asked.actor, asked.action_type, asked.target, asked.outcome, span.low, asked.end)


def span_of(fetch: Fetch, asked: AuditQuery) -> tuple[Span, tuple[int, str]]:
    """The span that is asked for, and the head."""
    first, head = ends(fetch)
    return _span(fetch, asked, first, head[0]), head


def _span(fetch: Fetch, asked: AuditQuery, first: int, last: int) -> Span:
    low, high = first, last
    at = AuditRow.timestamp
    if asked.start:
        found = fetch(sa.select(AuditRow.seq).where(at >= asked.start).order_by(at, AuditRow.seq).limit(1))
        low = found[0][0] if found else last + 1
    if asked.end:
        newest = sa.select(AuditRow.seq).where(at < asked.end).order_by(at.desc(), AuditRow.seq.desc())
        found = fetch(newest.limit(1))
        high = found[0][0] if found else first - 1
    return Span(low, high)


def _searched(fetch: Fetch, asked: AuditQuery, span: Span, head: tuple[int, str]) -> Found:
    """Goes through the entries window by window, until the page is full or the time is over."""
    place, ends_at = asked.place, time.monotonic() + SEARCH_S
    rows: list[dict[str, Any]] = []
    looked_at = 0
    while True:
        some, place, count = hits(fetch, asked, span, place, asked.limit + 1 - len(rows))
        rows, looked_at = rows + some, looked_at + count
        if len(rows) > asked.limit:
            rows = rows[: asked.limit]
            return Found(rows, len(rows), total_is_minimum=True, next=Place((rows[-1]["seq"],)), head=head)
        if place is None:
            return Found(rows, len(rows), total_is_minimum=asked.place is not None, head=head)
        if time.monotonic() >= ends_at:
            return Found(rows, len(rows), total_is_minimum=True, next=place, looked_at=looked_at, head=head)


def hits(
    fetch: Fetch, asked: AuditQuery, span: Span, place: Place | None, limit: int, budget: Budget | None = None
) -> tuple[list[dict[str, Any]], Place | None, int]:
    """What the next window of a search holds, where to go on (None: it was the last), and how many were looked at."""
    descending = asked.descending
    order = AuditRow.seq.desc() if descending else AuditRow.seq.asc()
    span, behind = _behind(asked, span, place, descending=descending)
    where = [*_within(span), *matching(asked), *behind]
    window = sa.select(AuditRow.seq).where(*where).order_by(order).limit(WINDOW)
    fits = sa.select(*_columns()).where(AuditRow.seq.in_(window), *_words(asked.q or "")).order_by(order).limit(limit)
    rows = _named(fetch(fits, budget))
    if len(rows) == limit or (budget is not None and budget.is_spent):
        return rows, Place((rows[-1]["seq"],)), 0
    seqs = window.subquery()
    edge = sa.func.min(seqs.c.seq) if descending else sa.func.max(seqs.c.seq)
    [(count, last)] = fetch(sa.select(sa.func.count(), edge).select_from(seqs))
    return rows, Place((last,)) if count == WINDOW else None, count


def _words(text: str) -> list[Condition]:
    """Every word, somewhere."""
    return [sa.or_(*(column.icontains(word, autoescape=True) for column in _SEARCHED)) for word in text.split()]


def _columns() -> list[Any]:
    return [getattr(AuditRow, name) for name in COLUMNS]


def _order(asked: AuditQuery) -> list[Any]:
    return [AuditRow.seq] if asked.sorts_by_time else [_SORTED[asked.sort_by], AuditRow.seq]


def key(asked: AuditQuery, row: dict[str, Any]) -> tuple[str | int, ...]:
    if asked.sorts_by_time:
        return (row["seq"],)
    return (row[_SORTED[asked.sort_by].key], row["seq"])


def _within(span: Span, seq: Any = AuditRow.seq) -> list[Condition]:
    return [seq >= span.low, seq <= span.high]


def _behind(asked: AuditQuery, span: Span, place: Place | None, *, descending: bool) -> tuple[Span, list[Condition]]:
    """What lies behind `place`: in the order of time a shorter span, as one index is bounded once on each side and
    whatever else is said of it is looked at entry by entry."""
    columns = _order(asked)
    if place is None or len(place.key) != len(columns):
        return span, []
    if asked.sorts_by_time:
        at = int(place.key[0])
        return (Span(span.low, min(span.high, at - 1)) if descending else Span(max(span.low, at + 1), span.high)), []
    ours, theirs = sa.tuple_(*columns), sa.tuple_(*place.key)
    return span, [ours < theirs if descending else ours > theirs]

"""Finds pages of audit entries: matches come from one covering index, then the rows are read by seq.

The order of the chain is the order of time (`chain.record` ensures it), so a range of time is a range of `seq`.
"""

import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.audit.count_cache import MAX_COUNTED_ROWS, CountCache, Span
from app.audit.models import AuditRow
from app.audit.query_params import AuditCursor, AuditQuery
from app.audit.reader_pool import ByteBudget, Fetch, Rows

Condition = sa.ColumnElement[bool]
# Seq and hash of the last entry; 0 and "" for an empty audit.
HeadKey = tuple[int, str]

COLUMNS = (
    "id", "seq", "timestamp", "actor", "action_type", "target", "stage", "outcome", "command_id", "origin",
    "before_state_json", "after_state_json", "command_params_json", "logs_json", "prev_hash", "hash",
)  # fmt: skip
_SORT_COLUMNS = {"actor": AuditRow.actor, "actionType": AuditRow.action_type, "target": AuditRow.target,
           "outcome": AuditRow.outcome}  # fmt: skip
# The columns that a field of the query with the same name must equal, beside the outcome.
_FILTER_COLUMNS = (AuditRow.command_id, AuditRow.actor, AuditRow.action_type, AuditRow.target)
# The columns that a text search looks at.
_SEARCH_COLUMNS = (
    AuditRow.target, AuditRow.actor, AuditRow.action_type, AuditRow.origin, AuditRow.before_state_json,
    AuditRow.after_state_json, AuditRow.command_params_json, AuditRow.logs_json, AuditRow.command_id, AuditRow.hash,
)  # fmt: skip
# A text search reads the entries themselves: this many rows at a time, and no longer than `MAX_SEARCH_S`.
SEARCH_WINDOW_ROWS = 5_000
LONG_SPAN_ROWS = 200_000
MAX_SEARCH_S = 1.0


@dataclass(frozen=True, slots=True)
class AuditPage:
    """One page. `total` is exact or a minimum. `rows_scanned` is set if a search stopped before its end."""

    rows: list[dict[str, Any]]
    total: int = 0
    total_is_minimum: bool = False
    next: AuditCursor | None = None
    previous: AuditCursor | None = None
    rows_scanned: int | None = None
    first: int = 0
    head: HeadKey = (0, "")


def find_page(fetch: Fetch, query: AuditQuery, totals: CountCache) -> AuditPage:
    """Find one page of entries. Runs on the thread that `fetch` belongs to."""
    first, head = read_bounds(fetch)
    span = _resolve_span(fetch, query, first, head[0])
    if query.q:
        return _search_page(fetch, query, span, head)
    where = build_conditions(query)
    total = span.high - span.low + 1 if not where else totals.count(fetch, where, span)
    total = max(total, 0)
    cursor = query.cursor
    backwards = cursor is not None and cursor.backwards
    offset = 0 if cursor is not None else (query.page - 1) * query.limit
    found = read_rows(fetch, query, span, cursor, query.limit + 1, offset)
    more, found = len(found) > query.limit, found[: query.limit]
    if backwards:
        found.reverse()
    further, nearer = (True, more) if backwards else (more, cursor is not None or query.page > 1)
    return AuditPage(
        found,
        min(total, MAX_COUNTED_ROWS),
        total > MAX_COUNTED_ROWS,
        AuditCursor(cursor_key(query, found[-1])) if found and further else None,
        AuditCursor(cursor_key(query, found[0]), backwards=True) if found and nearer else None,
        head=head,
    )


def read_bounds(fetch: Fetch) -> tuple[int, HeadKey]:
    """The seq of the first entry, and seq and hash of the last one; 1, 0 and "" for an empty audit."""
    first = fetch(sa.select(sa.func.min(AuditRow.seq)))[0][0]
    last = fetch(sa.select(AuditRow.seq, AuditRow.hash).order_by(AuditRow.seq.desc()).limit(1))
    return first or 1, (last[0][0], last[0][1]) if last else (0, "")


def read_rows(
    fetch: Fetch,
    query: AuditQuery,
    span: Span,
    cursor: AuditCursor | None,
    limit: int,
    offset: int = 0,
    budget: ByteBudget | None = None,
) -> list[dict[str, Any]]:
    """Entries in the requested order after `cursor`; before it in the opposite order if it reads backwards."""
    descending = query.is_descending != (cursor is not None and cursor.backwards)
    span, behind = _continue_after(query, span, cursor, descending=descending)
    where = [*build_conditions(query), *behind]
    if not where and query.is_sorted_by_time:
        # seq has no gaps, so the offset of a page is a difference of seq.
        span = Span(span.low, span.high - offset) if descending else Span(span.low + offset, span.high)
        offset = 0
    order = [column.desc() if descending else column.asc() for column in _order_columns(query)]
    # For a long span in another order, make the database walk the index in that order instead of the span.
    is_long = not query.is_sorted_by_time and span.high - span.low > LONG_SPAN_ROWS
    chosen = (
        sa.select(AuditRow.seq)
        .where(*_within(span, AuditRow.seq + 0 if is_long else AuditRow.seq), *where)
        .order_by(*order)
        .limit(limit)
    )
    chosen = chosen.offset(offset) if offset else chosen
    rows = sa.select(*_columns()).where(AuditRow.seq.in_(chosen)).order_by(*order)
    return _to_dicts(fetch(rows, budget))


def _to_dicts(rows: Rows) -> list[dict[str, Any]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def build_conditions(query: AuditQuery) -> list[Condition]:
    wanted = [(column, getattr(query, column.key)) for column in _FILTER_COLUMNS]
    where: list[Condition] = [column == value for column, value in wanted if value is not None]
    if query.outcome is not None:
        # Nearly all entries have the same outcome, so with another filter its index is the wrong one: hide the column.
        is_usual = query.outcome == "success" and not query.is_sorted_by_time
        outcome: Any = AuditRow.outcome.concat("") if where or is_usual else AuditRow.outcome
        where.append(outcome == query.outcome)
    return where


def find_span(fetch: Fetch, query: AuditQuery) -> tuple[Span, HeadKey]:
    """The requested span, and the head."""
    first, head = read_bounds(fetch)
    return _resolve_span(fetch, query, first, head[0]), head


def _resolve_span(fetch: Fetch, query: AuditQuery, first: int, last: int) -> Span:
    low, high = first, last
    at = AuditRow.timestamp
    if query.start:
        found = fetch(sa.select(AuditRow.seq).where(at >= query.start).order_by(at, AuditRow.seq).limit(1))
        low = found[0][0] if found else last + 1
    if query.end:
        newest = sa.select(AuditRow.seq).where(at < query.end).order_by(at.desc(), AuditRow.seq.desc())
        found = fetch(newest.limit(1))
        high = found[0][0] if found else first - 1
    return Span(low, high, query.end)


def _search_page(fetch: Fetch, query: AuditQuery, span: Span, head: HeadKey) -> AuditPage:
    """Scan the entries window by window until the page is full or the time is up."""
    cursor, ends_at = query.cursor, time.monotonic() + MAX_SEARCH_S
    rows: list[dict[str, Any]] = []
    rows_scanned = 0
    while True:
        some, cursor, count = search_window(fetch, query, span, cursor, query.limit + 1 - len(rows))
        rows, rows_scanned = rows + some, rows_scanned + count
        if len(rows) > query.limit:
            rows = rows[: query.limit]
            return AuditPage(rows, len(rows), total_is_minimum=True, next=AuditCursor((rows[-1]["seq"],)), head=head)
        if cursor is None:
            return AuditPage(rows, len(rows), total_is_minimum=query.cursor is not None, head=head)
        if time.monotonic() >= ends_at:
            return AuditPage(rows, len(rows), total_is_minimum=True, next=cursor, rows_scanned=rows_scanned, head=head)


def search_window(
    fetch: Fetch,
    query: AuditQuery,
    span: Span,
    cursor: AuditCursor | None,
    limit: int,
    budget: ByteBudget | None = None,
) -> tuple[list[dict[str, Any]], AuditCursor | None, int]:
    """The matches in the next window of a search, the next cursor (None after the last) and the rows scanned."""
    descending = query.is_descending
    order = AuditRow.seq.desc() if descending else AuditRow.seq.asc()
    span, behind = _continue_after(query, span, cursor, descending=descending)
    where = [*_within(span), *build_conditions(query), *behind]
    window = sa.select(AuditRow.seq).where(*where).order_by(order).limit(SEARCH_WINDOW_ROWS)
    fits = (
        sa.select(*_columns())
        .where(AuditRow.seq.in_(window), *_match_words(query.q or ""))
        .order_by(order)
        .limit(limit)
    )
    rows = _to_dicts(fetch(fits, budget))
    if len(rows) == limit or (budget is not None and budget.is_spent):
        return rows, AuditCursor((rows[-1]["seq"],)), 0
    seqs = window.subquery()
    edge = sa.func.min(seqs.c.seq) if descending else sa.func.max(seqs.c.seq)
    [(count, last)] = fetch(sa.select(sa.func.count(), edge).select_from(seqs))
    return rows, AuditCursor((last,)) if count == SEARCH_WINDOW_ROWS else None, count


def _match_words(text: str) -> list[Condition]:
    """Conditions that every word occurs in some column."""
    return [sa.or_(*(column.icontains(word, autoescape=True) for column in _SEARCH_COLUMNS)) for word in text.split()]


def _columns() -> list[Any]:
    return [getattr(AuditRow, name) for name in COLUMNS]


def _order_columns(query: AuditQuery) -> list[Any]:
    return [AuditRow.seq] if query.is_sorted_by_time else [_SORT_COLUMNS[query.sort_by], AuditRow.seq]


def cursor_key(query: AuditQuery, row: dict[str, Any]) -> tuple[str | int, ...]:
    if query.is_sorted_by_time:
        return (row["seq"],)
    return (row[_SORT_COLUMNS[query.sort_by].key], row["seq"])


def _within(span: Span, seq: Any = AuditRow.seq) -> list[Condition]:
    return [seq >= span.low, seq <= span.high]


def _continue_after(
    query: AuditQuery, span: Span, cursor: AuditCursor | None, *, descending: bool
) -> tuple[Span, list[Condition]]:
    """The span and the conditions for what comes after `cursor`.

    In the order of time it is a shorter span, because an index range has one bound on each side, and any further
    condition would be checked entry by entry.
    """
    columns = _order_columns(query)
    if cursor is None or len(cursor.key) != len(columns):
        return span, []
    if query.is_sorted_by_time:
        at = int(cursor.key[0])
        return (Span(span.low, min(span.high, at - 1)) if descending else Span(max(span.low, at + 1), span.high)), []
    ours, theirs = sa.tuple_(*columns), sa.tuple_(*cursor.key)
    return span, [ours < theirs if descending else ours > theirs]

"""`/audit`: the audit page with filters, sorting and search, before and after side by side."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from flask import Response, request

from app.audit import export, reader_pool, search
from app.audit.query_params import AuditQuery
from app.db import db
from app.infra.list_query import parse_leniently
from app.infra.problems import Problem
from app.web.audit import bp, routes
from app.web.auth import actor, require
from app.web.dashboard import queries
from app.web.layout import build_layout, render_page
from app.web.listing import Column, build_column, build_url, parse_export_format

FILTERS = ("actionType", "target", "actor", "outcome", "commandId", "startDate", "endDate", "q")
_DEFAULTS = {"sortBy": "timestamp", "sortOrder": "desc", "limit": "50"}
OUTCOMES = {"success": "Success", "failure": "Failure", "timeout": "Time-out"}
_STATES = {"success": "verified", "failure": "error", "timeout": "timeout"}
_ICONS = {"success": "verified", "failure": "offline", "timeout": "stale"}
_ASCENDING_FIRST = ("actor", "actionType", "target", "outcome")
# Longer values are only in the export, so that a page of fifty entries stays small.
MAX_CELL_CHARS = 2_000
MAX_FIELDS = 100
NO_VALUE = "—"


@dataclass(frozen=True, slots=True)
class AuditAddress:
    """The query of the page as it was typed: the valid part of it, and a sentence for each error."""

    given: Mapping[str, str]
    query: AuditQuery
    errors: tuple[str, ...] = ()

    @classmethod
    def parse(cls, typed: Mapping[str, str]) -> Self:
        given = {name: value.strip() for name, value in typed.items() if value.strip()}
        query, wrong = parse_leniently(AuditQuery, given)
        return cls(given, query, tuple(f"“{name}”: {why}." for name, why in wrong.items()))

    @property
    def is_filtered(self) -> bool:
        return any(name in self.given for name in FILTERS)

    def url(self, **changed: str | None) -> str:
        """The URL of this view with the `changed` parameters; its first page unless a cursor is given."""
        kept = {name: value for name, value in self.given.items() if name in (*FILTERS, *_DEFAULTS, "refresh")}
        pairs = {**kept, **changed}
        return build_url("/audit", {name: value for name, value in pairs.items() if value != _DEFAULTS.get(name)})

    def column(self, name: str, label: str) -> Column:
        """The header of a column. A text search is always sorted by time."""
        now = self.query
        order = now.sort_order if name == ("timestamp" if now.is_sorted_by_time else now.sort_by) else None
        can_sort = now.q is None or name == "timestamp"
        return build_column(
            label,
            order,
            "asc" if name in _ASCENDING_FIRST else "desc",
            lambda order: self.url(sortBy=name, sortOrder=order) if can_sort else "",
        )


@dataclass(frozen=True, slots=True)
class ChangedField:
    """One field before and after. `differs` is true if it changed."""

    name: str
    before: str
    after: str
    differs: bool


@dataclass(frozen=True, slots=True)
class EntryRow:
    entry: Mapping[str, Any]
    word: str
    state: str
    icon: str
    fields: tuple[ChangedField, ...]
    params: tuple[tuple[str, str], ...]

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> Self:
        outcome = str(entry["outcome"])
        accepted = entry["stage"] == "accepted"
        return cls(
            entry,
            "Accepted" if accepted else OUTCOMES.get(outcome, outcome),
            "pending" if accepted else _STATES.get(outcome, "stale"),
            "running" if accepted else _ICONS.get(outcome, "stale"),
            tuple(_compare(_as_members(entry["beforeState"]), _as_members(entry["afterState"]))),
            tuple(
                (name, _value_text(value))
                for name, value in list(_as_members(entry["commandParams"]).items())[:MAX_FIELDS]
            ),
        )

    @property
    def summary(self) -> str:
        """One line for the closed entry: the first field that changed, or else the first parameter.

        A field with both values is preferred to one that has a value on only one side.
        """
        changes = [field for field in self.fields if field.differs]
        if changes:
            changed = min(changes, key=lambda field: (field.after == NO_VALUE, field.before == NO_VALUE))
            return f"{changed.name or 'value'}: {changed.before} → {changed.after}"
        if self.params:
            name, value = self.params[0]
            return f"{name or 'params'}: {value}"
        return "Nothing changed" if self.fields else f"Entry {self.entry['seq']}"


@bp.get("/audit")
@require("viewer", scope="read")
def index() -> Response:
    """Return the page, or with `format=csv` or `ndjson` all matching entries. Programs get NDJSON by default."""
    address, form = AuditAddress.parse(request.args), parse_export_format(for_programs="ndjson")
    if form is None:
        return _render_page(address)
    if address.errors:
        raise Problem(400, "Bad input", " ".join(address.errors))
    return routes.export_response(address.query, form)


def _render_page(address: AuditAddress) -> Response:
    cursor = queries.cursor(db.session())
    around = build_layout("audit", actor(), cursor)
    db.session.remove()  # do not hold a pooled connection during a long search
    counts = routes.count_cache()
    found = reader_pool.run_read(lambda fetch: search.find_page(fetch, address.query, counts))
    is_first = address.query.cursor is None and address.query.page == 1
    return render_page(
        "audit/index.html",
        cursor,
        layout=around,
        address=address,
        found=found,
        rows=reader_pool.run_in_thread(_make_rows, found.rows),
        is_first=is_first,
        said=_count_text(address, found, is_first=is_first),
        matching=_matching_count(address, found),
        older=address.url(cursor=found.next.encode()) if found.next else None,
        newer=address.url(cursor=found.previous.encode()) if found.previous else None,
        outcomes=OUTCOMES,
    )


def _make_rows(rows: list[dict[str, Any]]) -> list[EntryRow]:
    return [EntryRow.from_entry(entry) for entry in export.rows_to_json(rows)]


def _count_text(address: AuditAddress, found: search.AuditPage, *, is_first: bool) -> str:
    """The number of entries, as text. A search does not know the total, because it stops once a page is full."""
    if found.rows_scanned:
        return f"{found.rows_scanned:,} entries searched so far."
    number = found.total
    entries = "entry" if number == 1 else "entries"
    if not address.query.q or (is_first and found.next is None):
        return f"{number:,}{'+' if found.total_is_minimum else ''} {entries}"
    return f"{number:,} {entries} on this page" + ("" if found.next else ", the last one")


def _matching_count(address: AuditAddress, found: search.AuditPage) -> int | None:
    """A number that grows with each new matching entry, or None if it is not known."""
    if not address.is_filtered:
        return found.head[0]
    return None if found.total_is_minimum else found.total


def _as_members(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"": value}


def _compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[ChangedField]:
    names = list(dict.fromkeys([*before, *after]))[:MAX_FIELDS]
    return [
        ChangedField(
            name, _member_text(before, name), _member_text(after, name), before.get(name, ...) != after.get(name, ...)
        )
        for name in names
    ]


def _member_text(members: Mapping[str, Any], name: str) -> str:
    return _value_text(members[name]) if name in members else NO_VALUE


def _value_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_CELL_CHARS else f"{text[:MAX_CELL_CHARS]}…"

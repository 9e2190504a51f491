"""`/audit`: who did what, on what, before and after side by side; as its address asks for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from flask import Response, make_response, render_template, request

from app.audit import export, reader_pool, search
from app.audit.query_params import Address
from app.db import db
from app.infra.problems import Problem
from app.web.audit import bp, routes
from app.web.auth import actor, require
from app.web.dashboard import queries
from app.web.dashboard.change_query import Column
from app.web.errors import wants_page
from app.web.layout import build_layout, generation

OUTCOMES = {"success": "Success", "failure": "Failure", "timeout": "Time-out"}
_STATES = {"success": "verified", "failure": "error", "timeout": "timeout"}
_ICONS = {"success": "verified", "failure": "offline", "timeout": "stale"}
_FIRST_ASC = ("actor", "actionType", "target", "outcome")
# More is in the export; a page of fifty entries stays light.
MAX_CELL = 2_000
MAX_LINES = 100
NOT_TOLD = "—"


@dataclass(frozen=True, slots=True)
class Side:
    """One line of before and after. `differs` where it changed."""

    name: str
    before: str
    after: str
    differs: bool


@dataclass(frozen=True, slots=True)
class Row:
    entry: Mapping[str, Any]
    word: str
    state: str
    icon: str
    sides: tuple[Side, ...]
    params: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        outcome = str(entry["outcome"])
        accepted = entry["stage"] == "accepted"
        return cls(
            entry,
            "Accepted" if accepted else OUTCOMES.get(outcome, outcome),
            "pending" if accepted else _STATES.get(outcome, "stale"),
            "running" if accepted else _ICONS.get(outcome, "stale"),
            tuple(_sides(_members(entry["beforeState"]), _members(entry["afterState"]))),
            tuple((name, _text(value)) for name, value in list(_members(entry["commandParams"]).items())[:MAX_LINES]),
        )

    @property
    def gist(self) -> str:
        """What stands there until somebody opens it: the first thing that changed, else what was asked for. What was
        only told of one side says less than what was told of both."""
        found = [side for side in self.sides if side.differs]
        if found:
            changed = min(found, key=lambda side: (side.after == NOT_TOLD, side.before == NOT_TOLD))
            return f"{changed.name or 'value'}: {changed.before} → {changed.after}"
        if self.params:
            name, value = self.params[0]
            return f"{name or 'params'}: {value}"
        return "Nothing changed" if self.sides else f"Entry {self.entry['seq']}"


@bp.get("/audit")
@require("viewer", scope="read")
def index() -> Response:
    """A page for people; `format=csv` or `ndjson`, and for programs without a format NDJSON, is all that fits."""
    asked, form = Address.of(request.args), request.args.get("format")
    if form is None and (actor().scopes is not None or not wants_page()):
        form = "ndjson"
    if form:
        if asked.errors:
            raise Problem(400, "Bad input", " ".join(asked.errors))
        return routes.exported(asked.query, form)
    return _page(asked)


def _page(asked: Address) -> Response:
    cursor = queries.cursor(db.session())
    around = build_layout("audit", actor(), cursor)
    db.session.remove()  # a long search holds no connection of the pool
    counts = routes.totals()
    found = reader_pool.look(lambda fetch: search.page(fetch, asked.query, counts))
    is_first = asked.query.place is None and asked.query.page == 1
    page = render_template(
        "audit/index.html",
        layout=around,
        asked=asked,
        found=found,
        rows=reader_pool.beside(_rows, found.rows),
        is_first=is_first,
        said=_said(asked, found, is_first=is_first),
        fitting=_fitting(asked, found),
        older=asked.to(cursor=found.next.text()) if found.next else None,
        newer=asked.to(cursor=found.previous.text()) if found.previous else None,
        column=lambda name, label: _column(asked, name, label),
        outcomes=OUTCOMES,
    )
    response = make_response(page)
    response.headers["Beacon-Cursor"] = str(cursor)
    response.headers["Beacon-Generation"] = generation()
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Vary"] = "Accept, HX-Request, Cookie"
    return response


def _rows(rows: list[dict[str, Any]]) -> list[Row]:
    return [Row.of(entry) for entry in export.as_entries(rows)]


def _said(asked: Address, found: search.Found, *, is_first: bool) -> str:
    """How many there are. A search does not know that: it stops once a page is full."""
    if found.looked_at:
        return f"{found.looked_at:,} entries were searched so far."
    number = found.total
    entries = "entry" if number == 1 else "entries"
    if not asked.query.q or (is_first and found.next is None):
        return f"{number:,}{'+' if found.total_is_minimum else ''} {entries}"
    return f"{number:,} {entries} on this page" + ("" if found.next else ", the last one")


def _fitting(asked: Address, found: search.Found) -> int | None:
    """Grows by what is new of that which was asked for; None where that is not known."""
    if not asked.is_filtered:
        return found.head[0]
    return None if found.total_is_minimum else found.total


def _column(asked: Address, name: str, label: str) -> Column:
    """A second click on the sorted column turns its order round. A search is in the order of time, whatever else."""
    now = asked.query
    mine = name == ("timestamp" if now.sorts_by_time else now.sort_by)
    order = ("asc" if now.descending else "desc") if mine else ("asc" if name in _FIRST_ASC else "desc")
    aria = f"{now.sort_order}ending" if mine else None
    arrow = "" if not mine else "↓" if now.descending else "↑"
    sorts = now.q is None or name == "timestamp"
    return Column(label, asked.to(sortBy=name, sortOrder=order) if sorts else "", aria, arrow)


def _members(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"": value}


def _sides(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Side]:
    names = list(dict.fromkeys([*before, *after]))[:MAX_LINES]
    return [
        Side(name, _of(before, name), _of(after, name), before.get(name, ...) != after.get(name, ...)) for name in names
    ]


def _of(members: Mapping[str, Any], name: str) -> str:
    return _text(members[name]) if name in members else NOT_TOLD


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else export.as_text(value)
    return text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}…"

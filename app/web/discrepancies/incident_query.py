"""Parses the query of the discrepancies page: `?q=…&service=mail&show=open&from=2026-11-21`."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from app.infra.clock import parse_utc, utc_text
from app.reconciliation.incidents import PROBLEM_STATUSES, START_POSITION, IncidentFilter, IncidentPosition, SortBy
from app.web.dashboard.change_query import Column
from app.web.dashboard.search_syntax import ChangeSearch

PATH = "/discrepancies"
STATUSES = {"discrepancy": "Discrepancy", "stale": "Stale", "verified": "Verified"}
KINDS = {"missing": "Missing", "extra": "Extra", "unaccounted": "Unaccounted for", "other": "Other findings"}
SHOW_CHOICES = {"open": "Open", "closed": "Closed"}
SORT_COLUMNS: tuple[SortBy, ...] = ("time", "service")
MAX_SERVICE_CHARS = 200
_EXPECTED_MOMENT = "expected a date or a time, like 2026-11-21 or 2026-11-21T12:00"


@dataclass(frozen=True, slots=True)
class PageStart:
    """Where a page begins: in which part (open discrepancies come first), and after which rows."""

    part: int = 0
    position: IncidentPosition = START_POSITION

    def encode(self) -> str:
        plain = json.dumps([self.part, self.position.events, self.position.groups])
        return urlsafe_b64encode(plain.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "PageStart":
        """Invalid text means the first page."""
        try:
            part, events, groups = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            return cls(max(0, int(part)), IncidentPosition(_parse_key(events), _parse_key(groups)))
        except (ValueError, TypeError, RecursionError):
            return FIRST_PAGE


FIRST_PAGE = PageStart()


@dataclass(frozen=True, slots=True)
class IncidentQuery:
    """`given` are the valid parameters as they were typed; `errors` describe the others.

    `preserved` are parameters that links keep.
    """

    given: Mapping[str, str]
    search: ChangeSearch
    start: str | None = None
    end: str | None = None
    page_start: PageStart = FIRST_PAGE
    errors: tuple[str, ...] = ()
    preserved: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> str:
        return self.given.get(name, "")

    @property
    def sort(self) -> SortBy:
        return "service" if self.value("sort") == "service" else "time"

    @property
    def is_descending(self) -> bool:
        return self.value("order") != "asc" if self.sort == "time" else self.value("order") == "desc"

    @property
    def is_filtered(self) -> bool:
        return bool(self.given.keys() - {"sort", "order"})

    @property
    def needs_row_filter(self) -> bool:
        """True if the query has a condition that the database cannot evaluate."""
        return bool(self.search.terms) or self.value("kind") in ("missing", "extra", "other")

    def database_queries(self, *, open_first: bool) -> list[IncidentFilter]:
        """The queries to read one after the other."""
        status, kind, show = self.value("status"), self.value("kind"), self.value("show")
        statuses: tuple[str, ...] = (status,) if status else PROBLEM_STATUSES
        if kind:
            statuses = tuple(one for one in statuses if one == "discrepancy" and kind != "unaccounted")
        wanted = IncidentFilter(
            self.value("service") or None,
            statuses,
            not status and kind in ("", "unaccounted"),
            None if not show else show == "open",
            self.start,
            self.end,
            self.sort,
            self.is_descending,
        )
        if show or not open_first or (self.sort, self.is_descending) != ("time", True):
            return [wanted]
        return [replace(wanted, is_open=True), replace(wanted, is_open=False)]

    def url(self, start: PageStart | None = None, **changed: str) -> str:
        pairs = {**self.given, **self.preserved, **changed}
        if start is not None:
            pairs["after"] = start.encode()
        encoded = urlencode({name: value for name, value in pairs.items() if value})
        return f"{PATH}?{encoded}" if encoded else PATH

    def column(self, name: SortBy, label: str) -> Column:
        is_sorted = name == self.sort
        descending = not self.is_descending if is_sorted else name == "time"
        is_default = (name, descending) == ("time", True)
        order = "" if is_default else "desc" if descending else "asc"
        href = self.url(sort="" if name == "time" else name, order=order)
        aria = f"{'desc' if self.is_descending else 'asc'}ending" if is_sorted else None
        arrow = "" if not is_sorted else "↓" if self.is_descending else "↑"
        return Column(label, href, aria, arrow)


def parse_incident_query(query: Mapping[str, str]) -> IncidentQuery:
    given = {name: query[name].strip() for name in ("q", "service", "from", "to") if query.get(name, "").strip()}
    for name, known in (("status", STATUSES), ("kind", KINDS), ("show", SHOW_CHOICES)):
        if query.get(name) in known:
            given[name] = query[name]
    if query.get("sort") in SORT_COLUMNS:
        given["sort"] = query["sort"]
    if query.get("order") in ("asc", "desc"):
        given["order"] = query["order"]
    search = ChangeSearch.parse(given.get("q", ""))
    errors = list(search.errors)
    if len(given.get("service", "")) > MAX_SERVICE_CHARS:
        del given["service"]
    start, end = (_parse_bound(given, name, days, errors) for name, days in (("from", 0), ("to", 1)))
    preserved = {"refresh": query["refresh"]} if query.get("refresh") else {}
    return IncidentQuery(given, search, start, end, PageStart.parse(query.get("after", "")), tuple(errors), preserved)


def _parse_bound(given: Mapping[str, str], name: str, days: int, errors: list[str]) -> str | None:
    text = given.get(name)
    try:
        return None if text is None else _parse_moment(text, days)
    except (ValueError, OverflowError):
        errors.append(f"“{name}”: {_EXPECTED_MOMENT}.")
        return None


def _parse_moment(text: str, days: int) -> str:
    """A date without a time, as an end, includes the whole day."""
    if len(text) == len("2026-11-21"):
        return utc_text(datetime.combine(date.fromisoformat(text), time(tzinfo=UTC)) + timedelta(days=days))
    return utc_text(parse_utc(text.replace(" ", "+")))


def _parse_key(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) and "\0" not in one for one in value):
        raise ValueError("expected a list of strings")
    return tuple(value)

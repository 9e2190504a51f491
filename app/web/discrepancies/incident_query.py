"""Parses the query of the discrepancies page: `?q=…&service=mail&show=open&from=2026-11-21`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.infra.list_query import decode_cursor, encode_cursor, parse_moment
from app.reconciliation.incidents import PROBLEM_STATUSES, START_POSITION, IncidentFilter, IncidentPosition, SortBy
from app.web.dashboard.search_syntax import ChangeSearch
from app.web.listing import Column, Order, build_column, build_url

PATH = "/discrepancies"
STATUSES = {"discrepancy": "Discrepancy", "stale": "Stale", "verified": "Verified"}
KINDS = {"missing": "Missing", "extra": "Extra", "unaccounted": "Unaccounted for", "other": "Other findings"}
SHOW_CHOICES = {"open": "Open", "closed": "Closed"}
_CHOICES = {
    "status": STATUSES,
    "kind": KINDS,
    "show": SHOW_CHOICES,
    "sort": ("time", "service"),
    "order": ("asc", "desc"),
}
MAX_SERVICE_CHARS = 200


@dataclass(frozen=True, slots=True)
class PageStart:
    """Where a page begins: in which part (open discrepancies come first), and after which rows."""

    part: int = 0
    position: IncidentPosition = START_POSITION

    def encode(self) -> str:
        return encode_cursor([self.part, self.position.events, self.position.groups])

    @classmethod
    def parse(cls, text: str) -> "PageStart":
        """Invalid text means the first page."""
        try:
            part, events, groups = decode_cursor(text)
            return cls(max(0, int(part)), IncidentPosition(_parse_key(events), _parse_key(groups)))
        except (ValueError, TypeError):
            return FIRST_PAGE


FIRST_PAGE = PageStart()


@dataclass(frozen=True, slots=True)
class IncidentQuery:
    """`given` are the valid parameters as they were typed; `errors` describe the others."""

    given: Mapping[str, str]
    search: ChangeSearch
    start: str | None = None
    end: str | None = None
    page_start: PageStart = FIRST_PAGE
    errors: tuple[str, ...] = ()

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
        return bool(self.given.keys() - {"sort", "order", "refresh"})

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
        pairs = {**self.given, **changed}
        if start is not None:
            pairs["after"] = start.encode()
        return build_url(PATH, pairs)

    def column(self, name: SortBy, label: str) -> Column:
        def href_of(order: Order) -> str:
            is_default = (name, order) == ("time", "desc")
            return self.url(sort="" if name == "time" else name, order="" if is_default else order)

        order: Order = "desc" if self.is_descending else "asc"
        return build_column(label, order if name == self.sort else None, "desc" if name == "time" else "asc", href_of)


def parse_incident_query(query: Mapping[str, str]) -> IncidentQuery:
    given = {name: query[name].strip() for name in ("q", "service", "from", "to") if query.get(name, "").strip()}
    given |= {name: query[name] for name, known in _CHOICES.items() if query.get(name) in known}
    if query.get("refresh"):
        given["refresh"] = query["refresh"]
    search = ChangeSearch.parse(given.get("q", ""))
    errors = list(search.errors)
    if len(given.get("service", "")) > MAX_SERVICE_CHARS:
        del given["service"]
    start, end = (_parse_bound(given, name, days, errors) for name, days in (("from", 0), ("to", 1)))
    return IncidentQuery(given, search, start, end, PageStart.parse(query.get("after", "")), tuple(errors))


def _parse_bound(given: Mapping[str, str], name: str, days: int, errors: list[str]) -> str | None:
    try:
        return parse_moment(given.get(name), days)
    except ValueError as error:
        errors.append(f"“{name}”: {error}.")
        return None


def _parse_key(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) and "\0" not in one for one in value):
        raise ValueError("expected a list of strings")
    return tuple(value)

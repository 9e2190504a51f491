"""The record of discrepancies as its address asks for it: `?q=…&service=mail&show=open&from=2026-11-21`."""

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
from app.web.dashboard.search_syntax import Search

PATH = "/discrepancies"
STATUSES = {"discrepancy": "Discrepancy", "stale": "Stale", "verified": "Verified"}
KINDS = {"missing": "Missing", "extra": "Extra", "unaccounted": "Unaccounted for", "other": "Other findings"}
SHOWN = {"open": "Open", "closed": "Closed"}
SORTS: tuple[SortBy, ...] = ("time", "service")
MAX_SERVICE = 200
_A_MOMENT = "expected a day or a moment, like 2026-11-21 or 2026-11-21T12:00"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of the record begins: in which part (open ones come first), and behind which rows."""

    part: int = 0
    position: IncidentPosition = START_POSITION

    def text(self) -> str:
        plain = json.dumps([self.part, self.position.events, self.position.groups])
        return urlsafe_b64encode(plain.encode()).decode().rstrip("=")

    @classmethod
    def of(cls, text: str) -> "Place":
        """What makes no sense is the beginning."""
        try:
            part, events, groups = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            return cls(max(0, int(part)), IncidentPosition(_key(events), _key(groups)))
        except (ValueError, TypeError, RecursionError):
            return FIRST


FIRST = Place()


@dataclass(frozen=True, slots=True)
class Asked:
    """`given` are the parameters that mean something, as they were typed; `errors` say which do not."""

    given: Mapping[str, str]
    search: Search
    start: str | None = None
    end: str | None = None
    place: Place = FIRST
    errors: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)

    def one(self, name: str) -> str:
        return self.given.get(name, "")

    @property
    def sort(self) -> SortBy:
        return "service" if self.one("sort") == "service" else "time"

    @property
    def descending(self) -> bool:
        return self.one("order") != "asc" if self.sort == "time" else self.one("order") == "desc"

    @property
    def is_filtered(self) -> bool:
        return bool(self.given.keys() - {"sort", "order"})

    @property
    def looks_at_rows(self) -> bool:
        """Whether something is asked that the database does not answer."""
        return bool(self.search.terms) or self.one("kind") in ("missing", "extra", "other")

    def parts(self, *, open_first: bool) -> list[IncidentFilter]:
        """What is read, one after the other."""
        status, kind, show = self.one("status"), self.one("kind"), self.one("show")
        statuses: tuple[str, ...] = (status,) if status else PROBLEM_STATUSES
        if kind:
            statuses = tuple(one for one in statuses if one == "discrepancy" and kind != "unaccounted")
        wanted = IncidentFilter(
            self.one("service") or None,
            statuses,
            not status and kind in ("", "unaccounted"),
            None if not show else show == "open",
            self.start,
            self.end,
            self.sort,
            self.descending,
        )
        if show or not open_first or (self.sort, self.descending) != ("time", True):
            return [wanted]
        return [replace(wanted, is_open=True), replace(wanted, is_open=False)]

    def address(self, place: Place | None = None, **changed: str) -> str:
        pairs = {**self.given, **self.kept, **changed}
        if place is not None:
            pairs["after"] = place.text()
        query = urlencode({name: value for name, value in pairs.items() if value})
        return f"{PATH}?{query}" if query else PATH

    def column(self, name: SortBy, label: str) -> Column:
        mine = name == self.sort
        descending = not self.descending if mine else name == "time"
        usual = (name, descending) == ("time", True)
        order = "" if usual else "desc" if descending else "asc"
        href = self.address(sort="" if name == "time" else name, order=order)
        aria = f"{'desc' if self.descending else 'asc'}ending" if mine else None
        return Column(label, href, aria, "" if not mine else "↓" if self.descending else "↑")


def asked(query: Mapping[str, str]) -> Asked:
    given = {name: query[name].strip() for name in ("q", "service", "from", "to") if query.get(name, "").strip()}
    for name, known in (("status", STATUSES), ("kind", KINDS), ("show", SHOWN)):
        if query.get(name) in known:
            given[name] = query[name]
    if query.get("sort") in SORTS:
        given["sort"] = query["sort"]
    if query.get("order") in ("asc", "desc"):
        given["order"] = query["order"]
    search = Search.parse(given.get("q", ""))
    errors = list(search.errors)
    if len(given.get("service", "")) > MAX_SERVICE:
        del given["service"]
    start, end = (_checked(given, name, later, errors) for name, later in (("from", 0), ("to", 1)))
    kept = {"refresh": query["refresh"]} if query.get("refresh") else {}
    return Asked(given, search, start, end, Place.of(query.get("after", "")), tuple(errors), kept)


def _checked(given: Mapping[str, str], name: str, days: int, errors: list[str]) -> str | None:
    text = given.get(name)
    try:
        return None if text is None else _moment(text, days)
    except (ValueError, OverflowError):
        errors.append(f"“{name}”: {_A_MOMENT}.")
        return None


def _moment(text: str, days: int) -> str:
    """A day without a time, as an end, means the whole of it."""
    if len(text) == len("2026-11-21"):
        return utc_text(datetime.combine(date.fromisoformat(text), time(tzinfo=UTC)) + timedelta(days=days))
    return utc_text(parse_utc(text.replace(" ", "+")))


def _key(found: Any) -> tuple[str, ...] | None:
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(one, str) and "\0" not in one for one in found):
        raise ValueError("no key")
    return tuple(found)

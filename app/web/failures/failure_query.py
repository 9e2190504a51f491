"""Query parameters of the failures: `?q=smtp&since=2026-11-21&muted=true&sort=last`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints

from app.failures.queries import GroupFilter, SortBy
from app.infra.list_query import ListQuery, RangeEnd, RangeStart, check_storable, parse_leniently
from app.web.listing import Column, Order, build_column, build_url

MAX_WORDS = 10
MAX_GROUPS = 500
_FILTERS = ("q", "since", "until", "muted")
_DEFAULTS = {"sort": "count", "order": "desc", "limit": "200"}


class FailureQuery(ListQuery):
    """Which causes are wanted. Muted ones come last; with `muted` only these, or none of them."""

    limit: int = Field(200, ge=1, le=MAX_GROUPS)
    since: RangeStart = None
    until: RangeEnd = None
    q: Annotated[str, StringConstraints(max_length=200), AfterValidator(check_storable)] = ""
    muted: bool | None = None
    sort: SortBy = "count"
    order: Literal["asc", "desc"] = "desc"

    def as_filter(self, service_id: str | None) -> GroupFilter:
        words = tuple(self.q.split()[:MAX_WORDS])
        return GroupFilter(service_id, self.since, self.until, words, self.muted, self.sort, self.order == "desc")


@dataclass(frozen=True, slots=True)
class FailureAddress:
    """The query of the page as it was typed: the valid part of it, and a sentence for each error."""

    path: str
    given: Mapping[str, str]
    query: FailureQuery
    errors: tuple[str, ...] = ()

    @classmethod
    def parse(cls, path: str, typed: Mapping[str, str]) -> Self:
        given = {name: value.strip() for name, value in typed.items() if value.strip()}
        query, wrong = parse_leniently(FailureQuery, given)
        return cls(path, given, query, tuple(f"“{name}”: {why}." for name, why in wrong.items()))

    def value(self, name: str) -> str:
        return self.given.get(name, "")

    @property
    def is_filtered(self) -> bool:
        """A mistyped parameter filters nothing."""
        return any(getattr(self.query, name) not in ("", None) for name in _FILTERS)

    @property
    def has_dates(self) -> bool:
        """False if a bound is a time, or was mistyped: a date field could not show it."""
        return not self.errors and all(len(self.value(name)) in (0, 10) for name in ("since", "until"))

    def url(self, **changed: str | None) -> str:
        kept = {name: value for name, value in self.given.items() if name in (*_FILTERS, *_DEFAULTS, "refresh")}
        pairs = {**kept, **changed}
        return build_url(self.path, {name: value for name, value in pairs.items() if value != _DEFAULTS.get(name)})

    def column(self, name: SortBy, label: str) -> Column:
        def href_of(order: Order) -> str:
            return self.url(sort=name, order=order)

        return build_column(label, self.query.order if name == self.query.sort else None, "desc", href_of)

"""Parses the query of the list of changes: `?q=…&sort=service&order=desc`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.web.dashboard.change_rows import ChangeRow
from app.web.dashboard.search_syntax import ChangeSearch
from app.web.listing import Column, Order, build_column, build_url

_SORT_KEYS: dict[str, Callable[[ChangeRow], Any]] = {
    "time": lambda row: row.id,
    "state": lambda row: row.word,
    "service": lambda row: row.subject.casefold(),
}


@dataclass(frozen=True, slots=True)
class ChangeQuery:
    """The search and the order of the list. Links keep `refresh`, and `board`, the parameters of the services above.

    `has_checks`: with the checks that only moved the numbers of a verified service.
    """

    search: ChangeSearch
    sort: str = "time"
    order: Order = "desc"
    refresh: str = ""
    has_checks: bool = False
    board: Mapping[str, str] = field(default_factory=dict)

    @property
    def params(self) -> Mapping[str, str]:
        """What the address says of it, but for `refresh`."""
        is_default = (self.sort, self.order) == ("time", "desc")
        sort = {} if is_default else {"sort": self.sort, "order": self.order}
        return {"q": self.search.text, **({"checks": "all"} if self.has_checks else {}), **sort}

    @property
    def all_url(self) -> str:
        """The address of the list without a search."""
        return build_url("/", self.board) + "#changes-title"

    @property
    def accepts_new_rows(self) -> bool:
        """True if pushed rows may enter the list: it shows all activity, newest first."""
        return not self.search.text and not self.has_checks and (self.sort, self.order) == ("time", "desc")

    def url(self, **changed: str) -> str:
        """The address of the list with these parameters changed."""
        params = {**self.board, "q": "", "refresh": self.refresh, **self.params, **changed}
        return build_url("/", params) + "#changes-title"

    def sort_rows(self, rows: Sequence[ChangeRow]) -> list[ChangeRow]:
        """Rows with equal keys stay newest first."""
        return sorted(rows, key=_SORT_KEYS[self.sort], reverse=self.order == "desc")

    def column(self, name: str, label: str) -> Column:
        def href_of(order: Order) -> str:
            return replace(self, sort=name, order=order).url()

        first: Order = "desc" if name == "time" else "asc"
        return build_column(label, self.order if name == self.sort else None, first, href_of)


def parse_change_query(query: Mapping[str, str], board: Mapping[str, str] | None = None) -> ChangeQuery:
    """Invalid values are ignored: an old link still shows the list."""
    sort = query.get("sort", "time")
    if sort not in _SORT_KEYS:
        sort = "time"
    given, orders = query.get("order", ""), dict[str, Order](asc="asc", desc="desc")
    order = orders.get(given, "desc" if sort == "time" else "asc")
    search = ChangeSearch.parse(query.get("q", ""))
    return ChangeQuery(search, sort, order, query.get("refresh", ""), query.get("checks") == "all", board or {})

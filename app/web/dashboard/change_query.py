"""Parses the query of the list of changes: `?q=…&sort=service&order=desc`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from app.web.dashboard.change_rows import ChangeRow
from app.web.dashboard.search_syntax import ChangeSearch

Order = Literal["asc", "desc"]

_SORT_KEYS: dict[str, Callable[[ChangeRow], Any]] = {
    "time": lambda row: row.id,
    "state": lambda row: row.word,
    "service": lambda row: row.subject.casefold(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A sortable column head. `aria_sort` and `arrow` are set only on the column that the list is sorted by."""

    label: str
    href: str
    aria_sort: str | None
    arrow: str


@dataclass(frozen=True, slots=True)
class ChangeQuery:
    """The search and the order of the list. `preserved` are other parameters that links keep."""

    search: ChangeSearch
    sort: str = "time"
    order: Order = "desc"
    preserved: tuple[tuple[str, str], ...] = ()

    @property
    def accepts_new_rows(self) -> bool:
        """True if pushed rows may enter the list: it shows everything, newest first."""
        return not self.search.text and (self.sort, self.order) == ("time", "desc")

    def sort_rows(self, rows: Sequence[ChangeRow]) -> list[ChangeRow]:
        """Rows with equal keys stay newest first."""
        return sorted(rows, key=_SORT_KEYS[self.sort], reverse=self.order == "desc")

    def column(self, name: str, label: str) -> Column:
        """A second click on the sorted column reverses its order."""
        is_sorted = name == self.sort
        first: Order = "desc" if name == "time" else "asc"
        order: Order = first if not is_sorted else "asc" if self.order == "desc" else "desc"
        aria = f"{self.order}ending" if is_sorted else None
        arrow = "" if not is_sorted else "↑" if self.order == "asc" else "↓"
        return Column(label, self._url(name, order), aria, arrow)

    def _url(self, sort: str, order: Order) -> str:
        search = [("q", self.search.text)] if self.search.text else []
        is_default = (sort, order) == ("time", "desc")
        pairs = [*search, *self.preserved, *([] if is_default else [("sort", sort), ("order", order)])]
        return f"/?{urlencode(pairs)}#changes-title" if pairs else "/#changes-title"


def parse_change_query(query: Mapping[str, str]) -> ChangeQuery:
    """Invalid values are ignored: an old link still shows the list."""
    sort = query.get("sort", "time")
    if sort not in _SORT_KEYS:
        sort = "time"
    default: Order = "desc" if sort == "time" else "asc"
    given = query.get("order")
    order: Order = "asc" if given == "asc" else "desc" if given == "desc" else default
    preserved = tuple((name, query[name]) for name in ("refresh",) if query.get(name))
    return ChangeQuery(ChangeSearch.parse(query.get("q", "")), sort, order, preserved)

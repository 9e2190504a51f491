"""The list of changes as its address asks for it: `?q=…&sort=service&order=desc`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from app.web.dashboard.change_rows import ChangeRow
from app.web.dashboard.search_syntax import Search

Order = Literal["asc", "desc"]

_KEYS: dict[str, Callable[[ChangeRow], Any]] = {
    "time": lambda row: row.id,
    "state": lambda row: row.word,
    "service": lambda row: row.subject.casefold(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A head that sorts. `aria_sort` and `arrow` only on the sorted one."""

    label: str
    href: str
    aria_sort: str | None
    arrow: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks of the list. `takes_rows`: new ones may enter by themselves, as everything is shown."""

    search: Search
    sort: str = "time"
    order: Order = "desc"
    kept: tuple[tuple[str, str], ...] = ()

    @property
    def takes_rows(self) -> bool:
        return not self.search.text and (self.sort, self.order) == ("time", "desc")

    def arranged(self, rows: Sequence[ChangeRow]) -> list[ChangeRow]:
        """Equal ones stay newest first."""
        return sorted(rows, key=_KEYS[self.sort], reverse=self.order == "desc")

    def column(self, name: str, label: str) -> Column:
        """A second click on the sorted column turns its order round."""
        mine = name == self.sort
        first: Order = "desc" if name == "time" else "asc"
        order: Order = first if not mine else "asc" if self.order == "desc" else "desc"
        aria = f"{self.order}ending" if mine else None
        return Column(label, self._address(name, order), aria, "" if not mine else "↑" if self.order == "asc" else "↓")

    def _address(self, sort: str, order: Order) -> str:
        chosen = [("q", self.search.text)] if self.search.text else []
        default = (sort, order) == ("time", "desc")
        pairs = [*chosen, *self.kept, *([] if default else [("sort", sort), ("order", order)])]
        return f"/?{urlencode(pairs)}#changes-title" if pairs else "/#changes-title"


def asked(query: Mapping[str, str]) -> Asked:
    """What makes no sense counts as not asked: an old link still shows the list."""
    sort = query.get("sort", "time")
    if sort not in _KEYS:
        sort = "time"
    default: Order = "desc" if sort == "time" else "asc"
    wanted = query.get("order")
    order: Order = "asc" if wanted == "asc" else "desc" if wanted == "desc" else default
    kept = tuple((name, query[name]) for name in ("refresh",) if query.get(name))
    return Asked(Search.parse(query.get("q", "")), sort, order, kept)

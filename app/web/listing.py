"""What the pages with lists have in common: parameters, links, sortable columns and export formats."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args
from urllib.parse import urlencode

from flask import request

from app.infra.list_query import Query
from app.infra.problems import Problem
from app.infra.streaming_export import ExportFormat
from app.web.auth import actor
from app.web.errors import wants_page

Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class Column:
    """A sortable column head. `aria_sort` and `arrow` are set only on the column that the list is sorted by."""

    label: str
    href: str
    aria_sort: str | None
    arrow: str


def build_column(label: str, order: Order | None, first: Order, href_of: Callable[[Order], str]) -> Column:
    """`order` is that of the list if it is sorted by this column: a click reverses it. Otherwise a click sorts the list
    by this column, in the order `first`."""
    if order is None:
        return Column(label, href_of(first), None, "")
    is_descending = order == "desc"
    href = href_of("asc" if is_descending else "desc")
    return Column(label, href, f"{order}ending", "↓" if is_descending else "↑")


def parse_args(model: type[Query]) -> Query:
    """The query of this request, without empty parameters. An invalid one is answered with 400."""
    return model.model_validate({name: value for name, value in request.args.items() if value})


def build_url(path: str, params: Mapping[str, object]) -> str:
    """The path with those parameters that have a value."""
    query = urlencode({name: value for name, value in params.items() if value})
    return f"{path}?{query}" if query else path


def wants_data() -> bool:
    """True for a program. A token never gets a page, because a page shows more than the token's scope allows."""
    return actor().scopes is not None or not wants_page()


def parse_export_format(for_programs: ExportFormat | None = None) -> ExportFormat | None:
    """The requested format, or that `for_programs`; None for the page or JSON. Raises `Problem` 400."""
    given = request.args.get("format") or (for_programs if for_programs and wants_data() else None)
    if given and given not in get_args(ExportFormat):
        raise Problem(400, "Bad input", "format: expected csv or ndjson", errors={"format": "expected csv or ndjson"})
    return cast(ExportFormat, given) if given else None

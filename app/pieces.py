"""CSV and NDJSON in pieces: flat memory however much it is, and no cell that a spreadsheet runs."""

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

from flask import Response

from app.clock import utc_text

Format = Literal["csv", "ndjson"]
TYPES: dict[Format, str] = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def answer(lines: Iterator[str], form: Format, name: str, at_once: int) -> Response:
    """`lines`, so many in a piece, as a file to keep."""
    # `2026-11-21T12-03-05Z`: no colon, which some file systems refuse.
    file = f"{name}-{utc_text()[:19].replace(':', '-')}Z.{form}"
    headers = {"Content-Disposition": f'attachment; filename="{file}"', "Cache-Control": "private, no-store"}
    return Response(in_pieces(lines, at_once), content_type=TYPES[form], headers=headers)


def csv_line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(harmless(value) for value in values)
    return text.getvalue()


def harmless(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def in_pieces(lines: Iterator[str], at_once: int) -> Iterator[bytes]:
    """Half a surrogate pair has no bytes: it must not end the rest."""
    while some := list(islice(lines, at_once)):
        yield "".join(some).encode("utf-8", "replace")

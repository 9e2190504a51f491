"""Streams CSV and NDJSON exports with constant memory, and escapes cells that a spreadsheet would run."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

from flask import Response

from app.infra.clock import utc_text

ExportFormat = Literal["csv", "ndjson"]
CONTENT_TYPES: dict[ExportFormat, str] = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
# What a spreadsheet treats as the start of a formula: also full-width signs in some languages, and a sign after
# characters that it trims or does not show.
_INVISIBLE = r"[\s\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff]{0,20}"
_SIGN = r"[=+\-@\u2212\ufb29\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20]"
_FORMULA = re.compile(rf"[\t\r\n]|{_INVISIBLE}{_SIGN}")
# If the list separator is not a comma, a new cell begins here.
_NEXT_CELL = re.compile(rf"([;\t\r\n]{_INVISIBLE})(?={_SIGN})")


def export_response(lines: Iterator[str], form: ExportFormat, name: str, at_once: int) -> Response:
    """Return `lines` as a file download that is sent in pieces of `at_once` lines."""
    # `2026-11-21T12-03-05Z`: without colons, which some file systems reject.
    file = f"{name}-{utc_text()[:19].replace(':', '-')}Z.{form}"
    headers = {"Content-Disposition": f'attachment; filename="{file}"'}
    return Response(encode_in_chunks(lines, at_once), content_type=CONTENT_TYPES[form], headers=headers)


def csv_line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(escape_formula(value) for value in values)
    return text.getvalue()


def escape_formula(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return value
    text = _NEXT_CELL.sub(r"\1'", value)
    return f"'{text}" if _FORMULA.match(text) else text


def encode_in_chunks(lines: Iterator[str], at_once: int) -> Iterator[bytes]:
    """Encode lines in batches. An unpaired surrogate has no UTF-8 form: it is replaced, so that the export goes on."""
    while some := list(islice(lines, at_once)):
        yield "".join(some).encode("utf-8", "replace")

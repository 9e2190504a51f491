"""The record as CSV or NDJSON: all that the filter asks for, in pieces, however much it is and however slow the reader.

Between two pieces nothing is held, no connection above all.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

from flask import Flask, Response

from app.clock import utc_text
from app.dashboard import record_reading
from app.dashboard.changes import NameOf
from app.dashboard.record_asked import Asked
from app.dashboard.record_reading import AT_ONCE
from app.dashboard.record_rows import RecordRow, closing_words
from app.db import read
from app.reconciliation.episodes import Position, Wanted

Format = Literal["csv", "ndjson"]
TYPES: dict[Format, str] = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
HEAD = (
    "timestamp", "service", "status", "kind", "expected", "actual", "jobs", "jobIds", "open", "endedAt", "endedHow",
    "closed",
)  # fmt: skip
# What a spreadsheet takes for the beginning of a formula: full-width signs in some languages, and what stands behind
# something that it trims or does not show.
_UNSEEN = r"[\s\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff]{0,20}"
_SIGN = r"[=+\-@\u2212\ufb29\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20]"
_FORMULA = re.compile(rf"[\t\r\n]|{_UNSEEN}{_SIGN}")
# Where the list separator is no comma, a new cell begins here.
_NEXT_CELL = re.compile(rf"([;\t\r\n]{_UNSEEN})(?={_SIGN})")


def answer(app: Flask, asked: Asked, form: Format, name_of: NameOf) -> Response:
    rows = record_reading.everything(asked, _reader(app, name_of))
    lines = {"csv": _csv, "ndjson": _ndjson}[form](rows)
    # `2026-11-21T12-03-05Z`: no colon, which some file systems refuse.
    name = f"discrepancies-{utc_text()[:19].replace(':', '-')}Z.{form}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}
    return Response(_in_pieces(lines), content_type=TYPES[form], headers=headers)


def _reader(app: Flask, name_of: NameOf) -> record_reading.Read:
    def look(wanted: Wanted, after: Position, limit: int) -> list[RecordRow]:
        with app.app_context(), read() as session:
            return record_reading.rows(session, wanted, after, limit, name_of, None)

    return look


def _csv(rows: Iterable[RecordRow]) -> Iterator[str]:
    yield _line(HEAD)
    for row in rows:
        one = row.as_json()
        ended = "; ".join(closing_words(done) for done in row.episode.closings)
        told = {**one, "jobs": len(one["jobIds"]), "jobIds": " ".join(one["jobIds"]), "closed": ended}
        yield _line(told[name] for name in HEAD)


def _line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(harmless(value) for value in values)
    return text.getvalue()


def harmless(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return value
    text = _NEXT_CELL.sub(r"\1'", value)
    return f"'{text}" if _FORMULA.match(text) else text


def _ndjson(rows: Iterable[RecordRow]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row.as_json(), ensure_ascii=False) + "\n"


def _in_pieces(lines: Iterator[str]) -> Iterator[bytes]:
    """Half a surrogate pair has no bytes: it must not end the rest."""
    while some := list(islice(lines, AT_ONCE)):
        yield "".join(some).encode("utf-8", "replace")

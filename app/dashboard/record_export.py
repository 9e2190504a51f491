"""The record as CSV or NDJSON: all that the filter asks for, in pieces, however much it is and however slow the reader.

Between two pieces nothing is held, no connection above all.
"""

import json
from collections.abc import Iterable, Iterator

from flask import Flask, Response

from app.dashboard import record_reading
from app.dashboard.changes import NameOf
from app.dashboard.record_asked import Asked
from app.dashboard.record_reading import AT_ONCE
from app.dashboard.record_rows import RecordRow, closing_words
from app.db import read
from app.reconciliation import sentences
from app.reconciliation.episodes import Position, Wanted
from app.web import streaming_export

Format = streaming_export.Format
HEAD = (
    "timestamp", "service", "status", "kind", "expected", "actual", "jobs", "jobIds", "open", "endedAt", "endedHow",
    "closed", "reason", "findings",
)  # fmt: skip


def answer(app: Flask, asked: Asked, form: Format, name_of: NameOf) -> Response:
    rows = record_reading.everything(asked, _reader(app, name_of))
    lines = {"csv": _csv, "ndjson": _ndjson}[form](rows)
    return streaming_export.answer(lines, form, "discrepancies", AT_ONCE)


def _reader(app: Flask, name_of: NameOf) -> record_reading.Read:
    def look(wanted: Wanted, after: Position, limit: int) -> list[RecordRow]:
        with app.app_context(), read() as session:
            return record_reading.rows(session, wanted, after, limit, name_of, None)

    return look


def _csv(rows: Iterable[RecordRow]) -> Iterator[str]:
    yield streaming_export.csv_line(HEAD)
    for row in rows:
        one = row.as_json()
        ended = "; ".join(closing_words(done) for done in row.episode.closings)
        found = sentences.listed(row.findings)
        told = {
            **one,
            "findings": found,
            "jobs": len(one["jobIds"]),
            "jobIds": " ".join(one["jobIds"]),
            "closed": ended,
        }
        yield streaming_export.csv_line(told[name] for name in HEAD)


def _ndjson(rows: Iterable[RecordRow]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row.as_json(), ensure_ascii=False) + "\n"

"""The record as CSV or NDJSON: all that the filter asks for, in pieces, however much it is and however slow the reader.

Between two pieces nothing is held, no connection above all.
"""

import json
from collections.abc import Iterable, Iterator

from flask import Flask, Response

from app.db import read
from app.infra import streaming_export
from app.reconciliation import finding_text
from app.reconciliation.incidents import Position, Wanted
from app.web.dashboard.change_rows import NameOf
from app.web.discrepancies import incident_reader
from app.web.discrepancies.incident_query import Asked
from app.web.discrepancies.incident_reader import AT_ONCE
from app.web.discrepancies.incident_rows import RecordRow, closing_words

Format = streaming_export.ExportFormat
HEAD = (
    "timestamp", "service", "status", "kind", "expected", "actual", "jobs", "jobIds", "open", "endedAt", "endedHow",
    "closed", "reason", "findings",
)  # fmt: skip


def answer(app: Flask, asked: Asked, form: Format, name_of: NameOf) -> Response:
    rows = incident_reader.everything(asked, _reader(app, name_of))
    lines = {"csv": _csv, "ndjson": _ndjson}[form](rows)
    return streaming_export.export_response(lines, form, "discrepancies", AT_ONCE)


def _reader(app: Flask, name_of: NameOf) -> incident_reader.Read:
    def look(wanted: Wanted, after: Position, limit: int) -> list[RecordRow]:
        with app.app_context(), read() as session:
            return incident_reader.rows(session, wanted, after, limit, name_of, None)

    return look


def _csv(rows: Iterable[RecordRow]) -> Iterator[str]:
    yield streaming_export.csv_line(HEAD)
    for row in rows:
        one = row.as_json()
        ended = "; ".join(closing_words(done) for done in row.episode.closings)
        found = finding_text.listed(row.findings)
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

"""Exports the discrepancies that match a filter as CSV or NDJSON, streamed in batches.

No database connection is held between two batches, however slow the reader is.
"""

import json
from collections.abc import Iterable, Iterator

from flask import Flask, Response

from app.db import read
from app.infra import streaming_export
from app.reconciliation import finding_text
from app.reconciliation.incidents import IncidentFilter, IncidentPosition
from app.web.dashboard.change_rows import NameOf
from app.web.discrepancies import incident_reader
from app.web.discrepancies.incident_query import IncidentQuery
from app.web.discrepancies.incident_reader import BATCH_ROWS
from app.web.discrepancies.incident_rows import IncidentRow, describe_closing

CSV_COLUMNS = (
    "timestamp", "service", "status", "kind", "expected", "actual", "jobs", "jobIds", "open", "endedAt", "endedHow",
    "closed", "reason", "findings",
)  # fmt: skip


def build_response(app: Flask, query: IncidentQuery, form: streaming_export.ExportFormat, name_of: NameOf) -> Response:
    rows = incident_reader.read_all(query, _batch_reader(app, name_of))
    lines = {"csv": _csv, "ndjson": _ndjson}[form](rows)
    return streaming_export.export_response(lines, form, "discrepancies", BATCH_ROWS)


def _batch_reader(app: Flask, name_of: NameOf) -> incident_reader.ReadBatch:
    def read_batch(wanted: IncidentFilter, after: IncidentPosition, limit: int) -> list[IncidentRow]:
        with app.app_context(), read() as session:
            return incident_reader.load_rows(session, wanted, after, limit, name_of, None)

    return read_batch


def _csv(rows: Iterable[IncidentRow]) -> Iterator[str]:
    yield streaming_export.csv_line(CSV_COLUMNS)
    for row in rows:
        one = row.as_json()
        ended = "; ".join(describe_closing(done) for done in row.episode.closings)
        cells = {
            **one,
            "findings": finding_text.list_findings(row.findings),
            "jobs": len(one["jobIds"]),
            "jobIds": " ".join(one["jobIds"]),
            "closed": ended,
        }
        yield streaming_export.csv_line(cells[name] for name in CSV_COLUMNS)


def _ndjson(rows: Iterable[IncidentRow]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row.as_json(), ensure_ascii=False) + "\n"

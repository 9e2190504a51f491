"""Exports filtered audit entries as CSV or NDJSON, in batches, up to the head at the start of the export.

The head is in a header and in the last line, so that an export can later prove that the chain still contains it.
"""

import json
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response
from pydantic.alias_generators import to_camel

from app.audit import reader_pool, search
from app.audit.count_cache import Span
from app.audit.query_params import AuditCursor, AuditQuery
from app.db import db
from app.infra import streaming_export
from app.infra.concurrency import iterate_in_slices, yield_to_loop

ROWS_PER_READ = 500
# Limit of one batch, because the entry of a command on thousands of jobs is long.
MAX_READ_BYTES = 2_097_152
CSV_COLUMNS = (
    "seq", "timestamp", "actor", "actionType", "target", "stage", "outcome", "commandId", "origin", "beforeState",
    "afterState", "commandParams", "logs", "id", "prevHash", "hash",
)  # fmt: skip
_JSON_COLUMNS = ("beforeState", "afterState", "commandParams", "logs")
# The columns by their names in the API.
_JSON_NAMES = {name: to_camel(name.removesuffix("_json")) for name in search.COLUMNS}


def rows_to_json(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Convert rows to API entries. Slow for commands on thousands of jobs: call it in `reader_pool.run_in_thread`."""
    return [
        {
            _JSON_NAMES[name]: _parse_json(value) if name.endswith("_json") else _decode_bytes(value)
            for name, value in row.items()
            if name != "command_id" or value is not None
        }
        for row in rows
    ]


def export_response(app: Flask, query: AuditQuery, form: streaming_export.ExportFormat) -> Response:
    lines, head = _export(app, query, form)
    response = streaming_export.export_response(lines, form, "audit", ROWS_PER_READ)
    response.headers["Audit-Head"] = f"seq={head[0]} hash={head[1]}"
    return response


def export_lines(app: Flask, query: AuditQuery, form: streaming_export.ExportFormat) -> Iterator[bytes]:
    """The export as byte chunks, for the command line."""
    with app.app_context():
        lines, _ = _export(app, query, form)
    return streaming_export.encode_in_chunks(lines, ROWS_PER_READ)


def _export(app: Flask, query: AuditQuery, form: streaming_export.ExportFormat) -> tuple[Iterator[str], search.HeadKey]:
    span, head = reader_pool.run_read(lambda fetch: search.find_span(fetch, query))
    write_lines = _csv_lines if form == "csv" else _ndjson_lines
    return write_lines(_read_entries(app, query, span), head), head


def _read_entries(app: Flask, query: AuditQuery, span: Span) -> Iterator[dict[str, Any]]:
    cursor: AuditCursor | None = None
    while True:
        with app.app_context():
            rows, cursor = _read_batch(query, span, cursor)
            db.session.remove()
        yield from iterate_in_slices(reader_pool.run_in_thread(rows_to_json, rows))
        if cursor is None:
            return
        yield_to_loop()


def _read_batch(
    query: AuditQuery, span: Span, cursor: AuditCursor | None
) -> tuple[list[dict[str, Any]], AuditCursor | None]:
    """The next entries and the next cursor, None at the end. A search scans one window and may find nothing in it."""

    def read_on(fetch: reader_pool.Fetch) -> tuple[list[dict[str, Any]], AuditCursor | None]:
        budget = reader_pool.ByteBudget(MAX_READ_BYTES, _row_bytes)
        if query.q:
            return search.search_window(fetch, query, span, cursor, ROWS_PER_READ, budget)[:2]
        rows = search.read_rows(fetch, query, span, cursor, ROWS_PER_READ, budget=budget)
        goes_on = len(rows) == ROWS_PER_READ or budget.is_spent
        return rows, AuditCursor(search.cursor_key(query, rows[-1])) if goes_on else None

    return reader_pool.run_read(read_on, waits=True)


def _row_bytes(row: reader_pool.Row) -> int:
    return sum(len(value) for value in row if isinstance(value, (str, bytes)))


def _csv_lines(entries: Iterator[dict[str, Any]], head: search.HeadKey) -> Iterator[str]:
    yield streaming_export.csv_line(CSV_COLUMNS)
    for entry in entries:
        yield streaming_export.csv_line(_csv_value(name, entry.get(name)) for name in CSV_COLUMNS)
    last = {"seq": head[0], "actionType": "(head)", "hash": head[1]}
    yield streaming_export.csv_line(last.get(name, "") for name in CSV_COLUMNS)


def _csv_value(name: str, value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if name in _JSON_COLUMNS and value is not None else value


def _ndjson_lines(entries: Iterator[dict[str, Any]], head: search.HeadKey) -> Iterator[str]:
    for entry in entries:
        yield json.dumps(entry, ensure_ascii=False) + "\n"
    yield json.dumps({"head": {"seq": head[0], "hash": head[1]}}) + "\n"


def _parse_json(text: Any) -> Any:
    """Parse a JSON column. Text that somebody wrote around Beacon and that is not JSON is returned as it is."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return _decode_bytes(text)


def _decode_bytes(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

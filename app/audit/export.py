"""All that a filter asks for, as CSV or NDJSON: read by key, a piece at a time, up to the head as it was at the start.

The head stands in a header and in the last line: who keeps an export can show later that the chain runs through it.
"""

import json
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response

from app.audit import reader_pool, search
from app.audit.query_params import AuditQuery, Place
from app.db import db
from app.infra import streaming_export
from app.infra.concurrency import iterate_in_slices, yield_to_loop

AT_ONCE = 500
# Of one piece: an entry of a command on thousands of jobs is long.
PIECE_BYTES = 2_097_152
HEAD = (
    "seq", "timestamp", "actor", "actionType", "target", "stage", "outcome", "commandId", "origin", "beforeState",
    "afterState", "commandParams", "logs", "id", "prevHash", "hash",
)  # fmt: skip
_JSON = ("beforeState", "afterState", "commandParams", "logs")


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """An AuditEntry of the contract, and where it came from."""
    entry = {
        "id": row["id"],
        "seq": row["seq"],
        "timestamp": row["timestamp"],
        "actor": row["actor"],
        "actionType": row["action_type"],
        "target": row["target"],
        "stage": row["stage"],
        "outcome": row["outcome"],
        "commandId": row["command_id"],
        "origin": row["origin"],
        "beforeState": _parsed(row["before_state_json"]),
        "afterState": _parsed(row["after_state_json"]),
        "commandParams": _parsed(row["command_params_json"]),
        "logs": _parsed(row["logs_json"]),
        "prevHash": row["prev_hash"],
        "hash": row["hash"],
    }
    if row["command_id"] is None:
        del entry["commandId"]
    return {name: _told(value) for name, value in entry.items()}


def as_entries(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of commands on thousands of jobs this takes a while: `raw.beside` the loop."""
    return [as_json(row) for row in rows]


def answer(app: Flask, asked: AuditQuery, form: streaming_export.ExportFormat) -> Response:
    span, head = reader_pool.look(lambda fetch: search.span_of(fetch, asked))
    lines = {"csv": _csv, "ndjson": _ndjson}[form](_entries(app, asked, span), head)
    response = streaming_export.export_response(lines, form, "audit", AT_ONCE)
    response.headers["Audit-Head"] = f"seq={head[0]} hash={head[1]}"
    return response


def lines_of(app: Flask, asked: AuditQuery, form: streaming_export.ExportFormat) -> Iterator[bytes]:
    """The same for the command line."""
    with app.app_context():
        span, head = reader_pool.look(lambda fetch: search.span_of(fetch, asked))
    return streaming_export.encode_in_chunks(
        {"csv": _csv, "ndjson": _ndjson}[form](_entries(app, asked, span), head), AT_ONCE
    )


def _entries(app: Flask, asked: AuditQuery, span: search.Span) -> Iterator[dict[str, Any]]:
    place: Place | None = None
    while True:
        with app.app_context():
            rows, place = _piece(asked, span, place)
            db.session.remove()
        yield from iterate_in_slices(reader_pool.beside(as_entries, rows))
        if place is None:
            return
        yield_to_loop()


def _piece(asked: AuditQuery, span: search.Span, place: Place | None) -> tuple[list[dict[str, Any]], Place | None]:
    """The next entries and where to go on: None at the end. A search looks through one window, and may find nothing."""

    def read_on(fetch: reader_pool.Fetch) -> tuple[list[dict[str, Any]], Place | None]:
        budget = reader_pool.Budget(PIECE_BYTES, _weight)
        if asked.q:
            return search.hits(fetch, asked, span, place, AT_ONCE, budget)[:2]
        rows = search.read(fetch, asked, span, place, AT_ONCE, budget=budget)
        goes_on = len(rows) == AT_ONCE or budget.is_spent
        return rows, Place(search.key(asked, rows[-1])) if goes_on else None

    return reader_pool.look(read_on, waits=True)


def _weight(row: reader_pool.Row) -> int:
    return sum(len(value) for value in row if isinstance(value, (str, bytes)))


def _csv(entries: Iterator[dict[str, Any]], head: tuple[int, str]) -> Iterator[str]:
    yield streaming_export.csv_line(HEAD)
    for entry in entries:
        yield streaming_export.csv_line(_cell(name, entry.get(name)) for name in HEAD)
    last = {"seq": head[0], "actionType": "(head)", "hash": head[1]}
    yield streaming_export.csv_line(last.get(name, "") for name in HEAD)


def _cell(name: str, value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if name in _JSON and value is not None else value


def _ndjson(entries: Iterator[dict[str, Any]], head: tuple[int, str]) -> Iterator[str]:
    for entry in entries:
        yield json.dumps(entry, ensure_ascii=False) + "\n"
    yield json.dumps({"head": {"seq": head[0], "hash": head[1]}}) + "\n"


def _parsed(text: Any) -> Any:
    """What somebody wrote past Beacon may be no JSON: it is told as it is."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return _told(text)


def _told(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def as_text(value: Any) -> str:
    """A value as JSON writes it."""
    return json.dumps(value, ensure_ascii=False)

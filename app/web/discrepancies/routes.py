"""The JSON history of discrepancies."""

import json
from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from app.db import db
from app.eventlog.event_types import Status
from app.infra.list_query import RecordQuery
from app.reconciliation import queries
from app.reconciliation.models import DiscrepancyEvent
from app.web.auth import require
from app.web.discrepancies import bp
from app.web.listing import parse_args


class DiscrepancyQuery(RecordQuery):
    sort_by: queries.SortBy = Field("timestamp", alias="sortBy")
    status: Status | None = None
    service: str | None = Field(None, max_length=200)


@bp.get("/reconciliation/discrepancies")
@require("viewer", scope="read")
def discrepancies() -> ResponseReturnValue:
    query = parse_args(DiscrepancyQuery)
    chosen = queries.DiscrepancyFilter(query.status, query.service, query.start, query.end)
    rows, total = queries.read_discrepancies(
        db.session(),
        chosen,
        query.sort_by,
        descending=query.is_descending,
        page=query.page,
        limit=query.limit,
    )
    return jsonify(data=[_row_as_json(row) for row in rows], meta=query.page_meta(total))


def _row_as_json(row: DiscrepancyEvent) -> dict[str, Any]:
    details = row.discrepancy_details_json
    return {
        "id": row.id,
        "timestamp": row.timestamp,
        "service": row.service,
        "status": row.status,
        "counts": json.loads(row.counts_json),
        "checksum": row.checksum,
        "latencyMs": row.latency_ms,
        "discrepancyDetails": json.loads(details) if details else None,
        "reason": row.reason,
        "findings": json.loads(row.findings_json) if row.findings_json else [],
        "episode": row.episode or row.id,
    }

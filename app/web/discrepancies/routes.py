"""The JSON history of discrepancies, and accepting open ones from JSON or a form."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from flask import current_app, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from app.db import db, read, write
from app.eventlog.event_types import Status
from app.infra.clock import Moment
from app.infra.list_query import RecordQuery
from app.infra.problems import Problem, invalid_input
from app.reconciliation import queries, row_writer
from app.reconciliation.accept import MAX_REASON_CHARS, accept_items
from app.reconciliation.item_digests import UnacceptedJob, find_unaccepted
from app.reconciliation.models import DiscrepancyEvent
from app.web.auth import actor, require
from app.web.discrepancies import bp
from app.web.listing import parse_args

MAX_IDS = 10_000


class DiscrepancyQuery(RecordQuery):
    """The query of the history."""

    sort_by: queries.SortBy = Field("timestamp", alias="sortBy")
    status: Status | None = None
    service: str | None = Field(None, max_length=200)


class AcceptRequest(BaseModel):
    """`jobIds` or `all`, and a reason.

    Items that opened after `asOf` stay open, and so do `jobIds` that changed since they were shown: `seen` holds the
    digests from the page's form.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_ids: list[Annotated[str, StringConstraints(max_length=1_000)]] | None = Field(
        None, alias="jobIds", min_length=1, max_length=MAX_IDS
    )
    all: bool = False
    as_of: Moment | None = Field(None, alias="asOf")
    seen: Annotated[str, StringConstraints(max_length=MAX_IDS * 13)] | None = None
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON_CHARS)]

    @model_validator(mode="after")
    def _check_ids_or_all(self) -> Self:
        if (self.job_ids is None) == (not self.all):
            raise ValueError("expected either jobIds, or all")
        return self


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """The ids that were `closed`, and the chosen ones that were `left` open or were not open."""

    closed: Sequence[str]
    left: Sequence[UnacceptedJob] = ()


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


@bp.post("/services/<service_id>/discrepancies/accept")
@require("operator", scope="command")
def accept_discrepancies(service_id: str) -> ResponseReturnValue:
    """JSON is answered with the ids that were `closed` and, of `jobIds`, those `notAccepted` with the reason. A form is
    answered by the service's page."""
    if not request.is_json:
        answer_form: Callable[[str], ResponseReturnValue] = current_app.extensions["beacon_accept_form"]
        return answer_form(service_id)
    accepted = accept_request(service_id, request.get_json())
    left = [{"jobId": one.job_id, "why": one.why} for one in accepted.left]
    return jsonify(closed=accepted.closed, **({"notAccepted": left} if left else {}))


def accept_request(service_id: str, given: Any) -> AcceptResult:
    """Validate `given` as an `AcceptRequest` and accept its items for the actor. Raises a 400 or 404 `Problem`."""
    try:
        wanted = AcceptRequest.model_validate(given)
    except ValidationError as error:
        raise invalid_input(error) from error
    job_ids = None if wanted.job_ids is None else set(wanted.job_ids)
    seen = None if wanted.seen is None or job_ids is None else set(wanted.seen.split())
    try:
        with write() as session:
            closed = accept_items(session, service_id, job_ids, actor().name, wanted.reason, wanted.as_of, seen)
    except row_writer.ServiceRemoved as error:
        raise Problem(404, "No such service", "Beacon watches no service with this id.") from error
    if job_ids is None:
        return AcceptResult(closed)
    with read() as session:
        return AcceptResult(closed, find_unaccepted(session, service_id, job_ids, closed))


def read_accept_form() -> dict[str, Any]:
    """The posted form as the fields of an `AcceptRequest`. Raises a 400 `Problem` if nothing was chosen."""
    job_ids = request.form.getlist("jobIds")
    form: dict[str, Any] = {"reason": request.form.get("reason", "")}
    if job_ids:
        form["jobIds"] = job_ids
    form |= {name: request.form[name] for name in ("all", "asOf", "seen") if name in request.form}
    if "jobIds" not in form and "all" not in form:
        raise Problem(
            400, "No items selected", "Select at least one job and try again.", errors={"jobIds": "none is selected"}
        )
    return form


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

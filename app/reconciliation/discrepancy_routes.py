"""The record of discrepancies, and the one thing that people may decide about it: to accept."""

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from flask import Blueprint, jsonify, redirect, request
from flask.typing import ResponseReturnValue
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from werkzeug.wrappers import Response

from app.accounts.access import actor, require
from app.clock import Moment, parse_utc, utc_text
from app.db import db, write
from app.errors import Problem, bad_input
from app.eventlog.payloads import Status
from app.reconciliation import queries, rows
from app.reconciliation.accept import MAX_REASON_CHARS, accept
from app.reconciliation.models import DiscrepancyEvent

bp = Blueprint("reconciliation", __name__)

MAX_LIMIT = 500
MAX_PAGE = 1_000_000
MAX_IDS = 10_000


def _start(text: object) -> str | None:
    return _moment(text, timedelta(0))


def _end(text: object) -> str | None:
    """A day without a time means the whole of it."""
    return _moment(text, timedelta(days=1))


def _moment(text: object, day: timedelta) -> str | None:
    if text in (None, ""):
        return None
    expected = "expected a day or a moment in ISO 8601, like 2026-11-21 or 2026-11-21T12:00:00Z"
    try:
        if len(str(text)) == len("2026-11-21"):
            return utc_text(datetime.combine(date.fromisoformat(str(text)), time(tzinfo=UTC)) + day)
        # A plus sign that was not escaped arrives as a blank.
        return utc_text(parse_utc(str(text).replace(" ", "+")))
    except (ValueError, OverflowError) as error:
        raise ValueError(expected) from error


class DiscrepancyQuery(BaseModel):
    """The query of the record. Unknown parameters are nobody's mistake here, and ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    page: int = Field(1, ge=1, le=MAX_PAGE)
    limit: int = Field(50, ge=1, le=MAX_LIMIT)
    sort_by: queries.SortBy = Field("timestamp", alias="sortBy")
    sort_order: Literal["asc", "desc"] = Field("desc", alias="sortOrder")
    status: Status | None = None
    service: str | None = Field(None, max_length=200)
    start: Annotated[str | None, BeforeValidator(_start)] = Field(None, alias="startDate")
    end: Annotated[str | None, BeforeValidator(_end)] = Field(None, alias="endDate")


class Acceptance(BaseModel):
    """`jobIds`, or `all`, and why. With `asOf`, `all` is what was open then: what has opened since stays open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_ids: list[Annotated[str, StringConstraints(max_length=1_000)]] | None = Field(
        None, alias="jobIds", min_length=1, max_length=MAX_IDS
    )
    all: bool = False
    as_of: Moment | None = Field(None, alias="asOf")
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON_CHARS)]

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.job_ids is None) == (not self.all):
            raise ValueError("expected either jobIds, or all")
        return self


@bp.get("/reconciliation/discrepancies")
@require("viewer", scope="read")
def discrepancies() -> ResponseReturnValue:
    given = {name: value for name, value in request.args.items() if value}
    asked = _checked(DiscrepancyQuery, given)
    chosen = queries.Filter(asked.status, asked.service, asked.start, asked.end)
    found, total = queries.discrepancies(
        db.session(),
        chosen,
        asked.sort_by,
        descending=asked.sort_order == "desc",
        page=asked.page,
        limit=asked.limit,
    )
    pages = -(-total // asked.limit)
    meta = {"page": asked.page, "limit": asked.limit, "total": total, "totalPages": pages}
    return jsonify(data=[_discrepancy(row) for row in found], meta=meta)


@bp.post("/services/<service_id>/discrepancies/accept")
@require("operator", scope="command")
def accept_discrepancies(service_id: str) -> ResponseReturnValue:
    """JSON from a program answers with what was closed; a form goes back to the service's page."""
    asked = _checked(Acceptance, request.get_json() if request.is_json else _form())
    job_ids = None if asked.job_ids is None else set(asked.job_ids)
    try:
        with write() as session:
            closed = accept(session, service_id, job_ids, actor().name, asked.reason, asked.as_of)
    except rows.NotWatched as error:
        raise Problem(404, "No such service", "Beacon watches no service of this id.") from error
    if request.is_json:
        return jsonify(closed=closed)
    answer: Response = redirect(f"/services/{quote(service_id, safe='')}", 303)
    return answer


def _form() -> dict[str, Any]:
    job_ids = request.form.getlist("jobIds")
    form: dict[str, Any] = {"reason": request.form.get("reason", "")}
    if job_ids:
        form["jobIds"] = job_ids
    form |= {name: request.form[name] for name in ("all", "asOf") if name in request.form}
    if "jobIds" not in form and "all" not in form:
        raise Problem(
            400, "Nothing chosen", "Tick at least one job, then press again.", errors={"jobIds": "none is ticked"}
        )
    return form


def _checked(model: type[Any], given: Any) -> Any:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise bad_input(error) from error


def _discrepancy(row: DiscrepancyEvent) -> dict[str, Any]:
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

"""The record of discrepancies, and the one thing that people may decide about it: to accept."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal, Self

from flask import current_app, jsonify, request
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

from app.db import db, read, write
from app.eventlog.event_types import Status
from app.infra.clock import Moment, parse_utc, utc_text
from app.infra.problems import Problem, invalid_input
from app.reconciliation import queries, row_writer
from app.reconciliation.accept import MAX_REASON_CHARS, accept
from app.reconciliation.item_digests import NotAccepted, not_accepted
from app.reconciliation.models import DiscrepancyEvent
from app.web.auth import actor, require
from app.web.discrepancies import bp

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
    """`jobIds`, or `all`, and why. What has opened after `asOf` stays open, and of `jobIds` what is not as it was
    `seen`: the digests of the page's form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_ids: list[Annotated[str, StringConstraints(max_length=1_000)]] | None = Field(
        None, alias="jobIds", min_length=1, max_length=MAX_IDS
    )
    all: bool = False
    as_of: Moment | None = Field(None, alias="asOf")
    seen: Annotated[str, StringConstraints(max_length=MAX_IDS * 13)] | None = None
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON_CHARS)]

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.job_ids is None) == (not self.all):
            raise ValueError("expected either jobIds, or all")
        return self


@dataclass(frozen=True, slots=True)
class Accepted:
    """The ids that were `closed`, and what of the chosen ones was `left` open, or was not open."""

    closed: Sequence[str]
    left: Sequence[NotAccepted] = ()


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
    """JSON from a program answers with what was `closed`, and of `jobIds` what was `notAccepted`, with the reason; a
    form goes back to the service's page, which answers it."""
    if not request.is_json:
        answer_form: Callable[[str], ResponseReturnValue] = current_app.extensions["beacon_accept_form"]
        return answer_form(service_id)
    accepted = accept_given(service_id, request.get_json())
    left = [{"jobId": one.job_id, "why": one.why} for one in accepted.left]
    return jsonify(closed=accepted.closed, **({"notAccepted": left} if left else {}))


def accept_given(service_id: str, given: Any) -> Accepted:
    """What an `Acceptance` says, as the one who sends it. Raises the 400 and the 404 `Problem`."""
    asked = _checked(Acceptance, given)
    job_ids = None if asked.job_ids is None else set(asked.job_ids)
    seen = None if asked.seen is None or job_ids is None else set(asked.seen.split())
    try:
        with write() as session:
            closed = accept(session, service_id, job_ids, actor().name, asked.reason, asked.as_of, seen)
    except row_writer.NotWatched as error:
        raise Problem(404, "No such service", "Beacon watches no service of this id.") from error
    if job_ids is None:
        return Accepted(closed)
    with read() as session:
        return Accepted(closed, not_accepted(session, service_id, job_ids, closed))


def form_given() -> dict[str, Any]:
    """The form of the request as an `Acceptance`. Raises the 400 `Problem` where nothing was chosen."""
    job_ids = request.form.getlist("jobIds")
    form: dict[str, Any] = {"reason": request.form.get("reason", "")}
    if job_ids:
        form["jobIds"] = job_ids
    form |= {name: request.form[name] for name in ("all", "asOf", "seen") if name in request.form}
    if "jobIds" not in form and "all" not in form:
        raise Problem(
            400, "Nothing chosen", "Tick at least one job, then press again.", errors={"jobIds": "none is ticked"}
        )
    return form


def _checked(model: type[Any], given: Any) -> Any:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise invalid_input(error) from error


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

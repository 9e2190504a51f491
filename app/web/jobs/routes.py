"""JSON API for jobs: what Beacon knows beside what the service reports now, each with its time."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.config import current_settings
from app.db import db
from app.eventlog.reader import Event
from app.infra.clock import utc_text
from app.infra.problems import Problem, build_retry_after
from app.reconciliation import job_queries, queries, registry
from app.reconciliation.models import KnownJob, OpenItem, Service, ServiceState
from app.sources.on_demand import REQUEST_TIMEOUT_S, TooManyRequests, TooSlow, query_source
from app.sources.protocol import MAX_JOB_ID_CHARS, JobDetail, Source, SourceError, StuckJob, View
from app.web.auth import actor, require
from app.web.dashboard.queries import require_service
from app.web.jobs import bp
from app.web.jobs.job_json import detail_to_json, format_optional_time
from app.web.listing import parse_args

T = TypeVar("T")
MAX_JOBS_PER_PAGE = 1_000


class JobsQuery(BaseModel):
    """Unknown query parameters are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: Annotated[str, StringConstraints(max_length=100)] | None = None
    after: Annotated[str, StringConstraints(max_length=MAX_JOB_ID_CHARS)] = ""
    limit: int = Field(100, ge=1, le=MAX_JOBS_PER_PAGE)


class ViewNotSupported(Exception):
    """This kind of service does not provide the view; the text says why."""


@bp.get("/api/jobs/stuck")
@require("viewer", scope="read")
def list_stuck_jobs() -> ResponseReturnValue:
    """`{service, jobs: [{…, reason, since}], askedAt}`, read from the service now."""
    row = _choose_service(request.args.get("service"))
    asked_at, service_id = utc_text(), row.id
    try:
        found = _query_source(row, "stuck", lambda source: source.stuck())
    except ViewNotSupported as error:
        raise Problem(501, "View not supported", f"{error}", reason="capability") from None
    except TooSlow as error:
        raise Problem(504, "No answer", f"The service {service_id} {error.reason}.", reason=error.reason) from None
    except SourceError as error:
        raise Problem(502, "No answer", f"The service {service_id} {error.reason}.", reason=error.reason) from None
    return jsonify(service=service_id, jobs=[_stuck_to_json(one) for one in found], askedAt=asked_at)


def list_known_jobs(service_id: str) -> ResponseReturnValue:
    """`/services/{id}/jobs` for API clients: the unfinished jobs that Beacon knows, by id.

    `meta.counts` are the service's own counts, including finished jobs; null if unknown, with the reason in
    `countsReason`. `meta.notTold` gives the reason for each single state whose count is unknown.
    """
    query = parse_args(JobsQuery)
    watched = require_service(db.session(), service_id)
    found = job_queries.read_job_page(db.session(), service_id, query.state, query.after, query.limit)
    state = watched.state
    counts, why_not = watched.counts(current_settings().poll_interval_s)
    return jsonify(
        data=[_known_to_json(row, state) for row in found.jobs],
        meta={
            "limit": query.limit,
            "next": found.next,
            "asOf": state.heard_at if state else None,
            "countsOnly": bool(state and state.counts_only),
            "counts": counts,
            "countsReason": why_not or None,
            "notTold": None if counts is None else watched.not_told,
        },
    )


# Ids may contain any character, including slashes.
@bp.get("/services/<service_id>/jobs/<path:job_id>", merge_slashes=False)
@require("viewer", scope="read")
def get_job(service_id: str, job_id: str) -> ResponseReturnValue:
    """One job as Beacon knows it and as the service reports it: null with a `reason` if it does not answer."""
    watched = require_service(db.session(), service_id)
    if len(job_id) > MAX_JOB_ID_CHARS or not job_id.isprintable():
        expected = f"expected at most {MAX_JOB_ID_CHARS} printable characters"
        raise Problem(400, "Bad input", f"jobId: {expected}", errors={"jobId": expected})
    session = db.session()
    row = job_queries.find_job(session, service_id, job_id)
    items = job_queries.list_open_items(session, service_id, job_id)
    published = job_queries.read_job_events(session, actor().viewer, service_id, job_id)
    known_side = {
        "known": _known_to_json(row, watched.state) if row else None,
        "openItems": [_open_item_to_json(item) for item in items],
        "events": [_event_to_json(event) for event in published.events],
        "eventsSince": published.since,
    }
    reported, is_unknown = _read_reported(watched.service, job_id)
    if is_unknown and row is None and not items and not published.events:
        detail = "Neither Beacon nor the service knows a job with this id."
        raise Problem(404, "No such job", detail)
    return jsonify(id=job_id, service=service_id, **known_side, **reported)


def _read_reported(row: Service, job_id: str) -> tuple[dict[str, Any], bool]:
    """What the service reports, and whether it does not know the job."""
    asked_at = utc_text()
    said: JobDetail | None = None
    reason, is_unknown = None, False
    try:
        said = _query_source(row, "detail", lambda source: source.detail(job_id))
        is_unknown = said is None
        reason = "the service does not know this job" if is_unknown else None
    except ViewNotSupported as error:
        reason = f"{error}"
    except SourceError as error:
        reason = f"the service {error.reason}"
    return {"reported": detail_to_json(said) if said else None, "reportedAt": asked_at, "reason": reason}, is_unknown


def _query_source(row: Service, view: View, question: Callable[[Source], T]) -> T:
    """Raises `ViewNotSupported` and `SourceError`. Releases the caller's database connection."""
    why_not = registry.capabilities_of(row).why_not(view)
    if why_not is not None:
        raise ViewNotSupported(why_not)
    make, service_id = registry.source_maker(row, current_settings().job_list_bound), row.id
    db.session.remove()
    try:
        return query_source(make, question, REQUEST_TIMEOUT_S, service_id=service_id)
    except TooManyRequests:
        detail = "Too many requests to services are pending. Try again in a moment."
        raise Problem(503, "Too busy", detail, headers=build_retry_after(1, 3)) from None


def _choose_service(service_id: str | None) -> Service:
    if service_id:
        return require_service(db.session(), service_id).service
    found = queries.list_services(db.session())
    if not found:
        raise Problem(404, "No such service", "Beacon watches no service yet.")
    if len(found) > 1:
        names = ", ".join(one.service.id for one in found)
        raise Problem(400, "Bad input", f"service: expected one of {names}", errors={"service": f"one of {names}"})
    return found[0].service


def _known_to_json(row: KnownJob, state: ServiceState | None) -> dict[str, Any]:
    """`seenAt`: for nearly all jobs the start of the newest poll that was accepted."""
    seen_at = row.seen_at or (state.heard_at if state else None)
    return {"id": row.job_id, "state": row.state, "queue": row.queue, "attempt": row.attempt, "seenAt": seen_at}


def _open_item_to_json(item: OpenItem) -> dict[str, Any]:
    return {"kind": item.kind, "since": item.since, "lastState": item.last_state, "queue": item.queue}


def _event_to_json(event: Event) -> dict[str, Any]:
    return {"id": event.id, "type": event.type, "timestamp": event.timestamp, "data": event.data}


def _stuck_to_json(found: StuckJob) -> dict[str, Any]:
    job = found.job
    shown = {"id": job.id, "state": job.state, "queue": job.queue, "attempt": job.attempt}
    return {**shown, "reason": found.reason, "since": format_optional_time(found.since)}

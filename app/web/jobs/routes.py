"""JSON API for jobs: what Beacon knows beside what the service reports now, each with its time."""

from typing import Annotated, Any

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.config import current_settings
from app.db import db
from app.eventlog.reader import Event
from app.failures.models import FailureGroup
from app.infra.clock import utc_text
from app.infra.problems import Problem
from app.reconciliation import job_queries, queries
from app.reconciliation.job_belief import JobBelief
from app.reconciliation.models import KnownJob, OpenItem, Service, ServiceState
from app.sources.on_demand import TooSlow
from app.sources.protocol import MAX_JOB_ID_CHARS, SourceError, StuckJob
from app.web.auth import require
from app.web.dashboard.queries import require_service
from app.web.jobs import bp, job_page, job_report
from app.web.jobs.job_json import detail_to_json, format_optional_time
from app.web.jobs.job_report import ViewNotSupported, query_view
from app.web.jobs.timeline import TimelineEntry
from app.web.listing import parse_args, wants_data

MAX_JOBS_PER_PAGE = 1_000


class JobsQuery(BaseModel):
    """Unknown query parameters are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: Annotated[str, StringConstraints(max_length=100)] | None = None
    after: Annotated[str, StringConstraints(max_length=MAX_JOB_ID_CHARS)] = ""
    limit: int = Field(100, ge=1, le=MAX_JOBS_PER_PAGE)


@bp.get("/api/jobs/stuck")
@require("viewer", scope="read")
def list_stuck_jobs() -> ResponseReturnValue:
    """`{service, jobs: [{…, reason, since}], askedAt}`, read from the service now."""
    row = _choose_service(request.args.get("service"))
    asked_at, service_id = utc_text(), row.id
    try:
        found = query_view(row, "stuck", lambda source: source.stuck())
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
    `countsReason`. `meta.notTold` gives the reason for each single state whose count is unknown, `meta.countsAsOf` the
    time of each count that is older than the check.
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
            "countsAsOf": None if counts is None else watched.counts_as_of,
        },
    )


# Ids may contain any character, including slashes.
@bp.get("/services/<service_id>/jobs/<path:job_id>", merge_slashes=False)
@require("viewer", scope="read")
def get_job(service_id: str, job_id: str) -> ResponseReturnValue:
    """One job as Beacon knows it and as the service reports it: null with a `reason` if it does not answer.

    People get a page.
    """
    if not wants_data():
        return job_page.show_job(service_id, job_id)
    found = job_report.read_report(service_id, job_id)
    said = found.said
    return jsonify(
        id=job_id,
        service=service_id,
        known=_known_to_json(found.known, found.state) if found.known else None,
        openItems=[_open_item_to_json(item) for item in found.open_items],
        events=[_event_to_json(event) for event in found.published.events],
        eventsSince=found.published.since,
        reported=detail_to_json(said) if said else None,
        reportedAt=found.asked_at,
        reason=found.reason,
        timeline=[_entry_to_json(entry) for entry in found.timeline],
        cause=_cause_to_json(found.cause) if found.cause else None,
        because=_belief_to_json(found.belief),
    )


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


def _entry_to_json(entry: TimelineEntry) -> dict[str, Any]:
    return {"at": entry.at, "what": entry.what, "source": entry.source, "detail": entry.detail}


def _cause_to_json(cause: FailureGroup) -> dict[str, Any]:
    return {"group": cause.id, "count": cause.jobs}


def _belief_to_json(belief: JobBelief) -> dict[str, Any]:
    conditions = [{"name": one.name, "held": one.held, "detail": one.detail} for one in belief.conditions]
    return {"verdict": belief.verdict, "detail": belief.words, "conditions": conditions}

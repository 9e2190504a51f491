"""Jobs: what Beacon knows of them beside what their service says of them just now, each with its time."""

from collections.abc import Callable
from datetime import datetime
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
from app.sources.on_demand import ASK_S, TooMany, TooSlow, ask
from app.sources.protocol import MAX_JOB_ID_CHARS, JobDetail, Source, SourceError, StuckJob, View
from app.web.auth import actor, require
from app.web.jobs import bp

T = TypeVar("T")
MAX_LIMIT = 1_000


class JobsQuery(BaseModel):
    """Unknown parameters are nobody's mistake here, and ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: Annotated[str, StringConstraints(max_length=100)] | None = None
    after: Annotated[str, StringConstraints(max_length=MAX_JOB_ID_CHARS)] = ""
    limit: int = Field(100, ge=1, le=MAX_LIMIT)


class CannotBeAsked(Exception):
    """This kind of service does not tell; the text says why."""


@bp.get("/api/jobs/stuck")
@require("viewer", scope="read")
def stuck() -> ResponseReturnValue:
    """`{service, jobs: [{…, reason, since}], askedAt}`, from the service itself, as it says it now."""
    row = _chosen(request.args.get("service"))
    asked_at, service_id = utc_text(), row.id
    try:
        found = _ask(row, "stuck", lambda source: source.stuck())
    except CannotBeAsked as error:
        raise Problem(501, "Cannot be asked", f"{error}", reason="capability") from None
    except TooSlow as error:
        raise Problem(504, "No answer", f"The service {service_id} {error.reason}.", reason=error.reason) from None
    except SourceError as error:
        raise Problem(502, "No answer", f"The service {service_id} {error.reason}.", reason=error.reason) from None
    return jsonify(service=service_id, jobs=[_stuck(one) for one in found], askedAt=asked_at)


def of_service(service_id: str) -> ResponseReturnValue:
    """`/services/{id}/jobs` for programs: the unfinished jobs that Beacon knows, by id.

    `meta.counts` is what the service counts, finished ones too; null where nobody knows it, and `countsReason` why;
    `meta.notTold`: why of single states it is not known.
    """
    asked = JobsQuery.model_validate({name: value for name, value in request.args.items() if value})
    watched = _watched(service_id)
    found = job_queries.page(db.session(), service_id, asked.state, asked.after, asked.limit)
    state = watched.state
    counts, why_not = watched.counts(current_settings().poll_interval_s)
    return jsonify(
        data=[_known(row, state) for row in found.jobs],
        meta={
            "limit": asked.limit,
            "next": found.next,
            "asOf": state.heard_at if state else None,
            "countsOnly": bool(state and state.counts_only),
            "counts": counts,
            "countsReason": why_not or None,
            "notTold": None if counts is None else watched.not_told,
        },
    )


# Ids may hold any sign, slashes too.
@bp.get("/services/<service_id>/jobs/<path:job_id>", merge_slashes=False)
@require("viewer", scope="read")
def one(service_id: str, job_id: str) -> ResponseReturnValue:
    """Both sides of one job. Of a service that does not answer, `reported` is null and `reason` says why."""
    watched = _watched(service_id)
    if len(job_id) > MAX_JOB_ID_CHARS or not job_id.isprintable():
        expected = f"expected at most {MAX_JOB_ID_CHARS} printable signs"
        raise Problem(400, "Bad input", f"jobId: {expected}", errors={"jobId": expected})
    session = db.session()
    row = job_queries.known(session, service_id, job_id)
    items = job_queries.open_items(session, service_id, job_id)
    published = job_queries.published(session, actor().viewer, service_id, job_id)
    known_side = {
        "known": _known(row, watched.state) if row else None,
        "openItems": [_item(item) for item in items],
        "events": [_event(event) for event in published.events],
        "eventsSince": published.since,
    }
    reported, is_unknown = _reported(watched.service, job_id)
    if is_unknown and row is None and not items and not published.events:
        detail = "Neither Beacon nor the service knows a job of this id."
        raise Problem(404, "No such job", detail)
    return jsonify(id=job_id, service=service_id, **known_side, **reported)


def _reported(row: Service, job_id: str) -> tuple[dict[str, Any], bool]:
    """The service's side, and whether it knows no such job."""
    asked_at = utc_text()
    said: JobDetail | None = None
    reason, is_unknown = None, False
    try:
        said = _ask(row, "detail", lambda source: source.detail(job_id))
        is_unknown = said is None
        reason = "the service does not know this job" if is_unknown else None
    except CannotBeAsked as error:
        reason = f"{error}"
    except SourceError as error:
        reason = f"the service {error.reason}"
    return {"reported": _detail(said) if said else None, "reportedAt": asked_at, "reason": reason}, is_unknown


def _ask(row: Service, view: View, question: Callable[[Source], T]) -> T:
    """Raises `CannotBeAsked`, `SourceError`; the caller gives up the database's connection to it."""
    why_not = registry.capabilities_of(row).why_not(view)
    if why_not is not None:
        raise CannotBeAsked(why_not)
    make = registry.source_maker(row, current_settings().job_list_bound)
    db.session.remove()
    try:
        return ask(make, question, ASK_S)
    except TooMany:
        detail = "Too many questions wait for their services just now. Try again in a moment."
        raise Problem(503, "Too busy", detail, headers=build_retry_after(1, 3)) from None


def _chosen(service_id: str | None) -> Service:
    if service_id:
        return _watched(service_id).service
    found = queries.services(db.session())
    if not found:
        raise Problem(404, "No such service", "Beacon watches no service yet.")
    if len(found) > 1:
        names = ", ".join(one.service.id for one in found)
        raise Problem(400, "Bad input", f"service: expected one of {names}", errors={"service": f"one of {names}"})
    return found[0].service


def _watched(service_id: str) -> queries.Watched:
    found = queries.service(db.session(), service_id)
    if found is None:
        raise Problem(404, "No such service", "Beacon watches no service of this id.")
    return found


def _known(row: KnownJob, state: ServiceState | None) -> dict[str, Any]:
    """`seenAt`: of nearly all jobs, when the newest look began that was believed."""
    seen_at = row.seen_at or (state.heard_at if state else None)
    return {"id": row.job_id, "state": row.state, "queue": row.queue, "attempt": row.attempt, "seenAt": seen_at}


def _item(item: OpenItem) -> dict[str, Any]:
    return {"kind": item.kind, "since": item.since, "lastState": item.last_state, "queue": item.queue}


def _event(event: Event) -> dict[str, Any]:
    return {"id": event.id, "type": event.type, "timestamp": event.timestamp, "data": event.data}


def _stuck(found: StuckJob) -> dict[str, Any]:
    job = found.job
    shown = {"id": job.id, "state": job.state, "queue": job.queue, "attempt": job.attempt}
    return {**shown, "reason": found.reason, "since": _text(found.since)}


def _detail(said: JobDetail) -> dict[str, Any]:
    return {
        "state": said.job.state,
        "queue": said.job.queue,
        "attempt": said.job.attempt,
        "description": said.description,
        "enqueuedAt": _text(said.enqueued_at),
        "startedAt": _text(said.started_at),
        "endedAt": _text(said.ended_at),
        "worker": said.worker,
        "error": said.error,
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else utc_text(moment)

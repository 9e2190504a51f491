"""What a service tells of a job, as JSON: null where it is not known, with the reason in `notTold` if there is one."""

from datetime import datetime
from typing import Any

from app.infra.clock import utc_text
from app.sources.protocol import JobDetail, JobError


def detail_to_json(said: JobDetail) -> dict[str, Any]:
    """A single job. Times are ISO 8601 in UTC; `waitS` and `runS` are seconds."""
    return {
        **facts_to_json(said),
        "description": said.description,
        "traceback": said.traceback,
        "tracebackTruncated": said.is_traceback_cut,
        "arguments": said.arguments,
        "dependsOn": list(said.depends_on),
        "dependents": list(said.dependents),
        "related": dict(said.related),
    }


def facts_to_json(said: JobDetail) -> dict[str, Any]:
    """One of many jobs."""
    return {
        "state": said.job.state,
        "queue": said.job.queue,
        "function": said.function,
        "attempt": said.job.attempt,
        "maxAttempts": said.max_attempts,
        "enqueuedAt": format_optional_time(said.enqueued_at),
        "startedAt": format_optional_time(said.started_at),
        "endedAt": format_optional_time(said.ended_at),
        "scheduledFor": format_optional_time(said.scheduled_for),
        "waitS": _seconds_between(said.enqueued_at, said.started_at),
        "runS": _seconds_between(said.started_at, said.ended_at),
        "worker": said.worker,
        "error": _error_to_json(said.error) if said.error else None,
        "notTold": dict(said.not_told),
    }


def format_optional_time(moment: datetime | None) -> str | None:
    return None if moment is None else utc_text(moment)


def _error_to_json(error: JobError) -> dict[str, str | None]:
    return {"type": error.type, "message": error.message, "frame": str(error.frame) if error.frame else None}


def _seconds_between(began: datetime | None, ended: datetime | None) -> float | None:
    """None also if the clocks of the service disagree."""
    if began is None or ended is None or ended < began:
        return None
    return round((ended - began).total_seconds(), 3)

"""What Beacon has kept of a failed job, for when its service does not tell: its facts as they were read. Pure."""

from datetime import timedelta

from app.failures.models import FailedJob, FailureGroup
from app.infra.clock import parse_utc
from app.sources.protocol import Job, JobDetail, JobError
from app.sources.tracebacks import Frame

NOT_KEPT = "Beacon does not keep it"


def build_detail(failed: FailedJob, cause: FailureGroup) -> JobDetail:
    """The facts of a job as a service tells them, without those that are not kept."""
    # Otherwise it is only the time at which Beacon found it failed.
    ended_at = parse_utc(failed.failed_at) if failed.failed_at and failed.failed_at != failed.seen_at else None
    started_at = ended_at - timedelta(seconds=failed.run_s) if ended_at and failed.run_s is not None else None
    frame = Frame(cause.frame, None) if cause.frame else None
    has_error = bool(cause.error_type or failed.message or frame)
    return JobDetail(
        Job(failed.job_id, "failed", failed.queue, failed.attempt),
        function=cause.function,
        error=JobError(cause.error_type or "", failed.message or "", frame) if has_error else None,
        worker=failed.worker,
        max_attempts=failed.max_attempts,
        started_at=started_at,
        ended_at=ended_at,
        not_told=dict.fromkeys(("enqueuedAt", "waitS", *(() if started_at else ("startedAt", "runS"))), NOT_KEPT),
    )

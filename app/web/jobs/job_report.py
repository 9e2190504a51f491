"""All about one job: what Beacon knows, what programs published, which commands touched it, what its service says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from app.commands import job_commands
from app.commands.job_commands import JobCommand
from app.config import current_settings
from app.db import db
from app.failures import queries as failures
from app.failures.models import FailedJob, FailureGroup
from app.failures.queries import Neighbours
from app.infra.clock import utc_text
from app.infra.problems import Problem, build_retry_after
from app.reconciliation import job_belief, job_queries, registry
from app.reconciliation.job_belief import JobBelief, JobEvidence
from app.reconciliation.job_queries import PublishedJobEvents
from app.reconciliation.models import KnownJob, OpenItem, Service, ServiceState
from app.sources.on_demand import REQUEST_TIMEOUT_S, TooManyRequests, query_source
from app.sources.protocol import MAX_JOB_ID_CHARS, JobDetail, Source, SourceError, View
from app.web.auth import actor
from app.web.dashboard.queries import require_service
from app.web.jobs import kept_facts
from app.web.jobs.timeline import TimelineEntry, build_timeline

T = TypeVar("T")
MAX_COMMANDS = 50
# The page waits only briefly for a service that did not answer its last check, and shows what Beacon knows.
SILENT_TIMEOUT_S = 0.2
MAX_PENDING_WHILE_SILENT = 2


class ViewNotSupported(Exception):
    """This kind of service does not provide the view; the text says why."""


@dataclass(frozen=True, slots=True)
class JobReport:
    """`said` is None if the service does not answer or does not know the job; then `reason` says which.

    `silent_since`: when a service that does not answer its checks either was last heard, or was first missed.

    `failed` is what Beacon keeps of a job that is failed now, `cause` its group once its facts were read.
    """

    service: Service
    job_id: str
    state: ServiceState | None
    known: KnownJob | None
    items: Sequence[OpenItem]
    published: PublishedJobEvents
    commands: Sequence[JobCommand]
    said: JobDetail | None
    asked_at: str
    reason: str | None
    failed: FailedJob | None
    cause: FailureGroup | None
    neighbours: Neighbours
    silent_since: str | None = None

    @property
    def shown(self) -> JobDetail | None:
        """What the service tells, or else what it told when Beacon read the facts of the failed job."""
        if self.said is None and self.failed is not None and self.cause is not None:
            return kept_facts.build_detail(self.failed, self.cause)
        return self.said

    @property
    def open_items(self) -> list[OpenItem]:
        return [item for item in self.items if item.closed_at is None]

    @property
    def timeline(self) -> list[TimelineEntry]:
        return build_timeline(self.said, self.published.events, self.items, self.commands, self.failed)

    @property
    def belief(self) -> JobBelief:
        ended = any(event.type in ("job.finished", "job.failed") for event in self.published.events)
        done = any(one.state == "done" for one in self.commands)
        return job_belief.explain_belief(
            JobEvidence(
                known=self.known,
                items=self.open_items,
                heard_at=self.state.heard_at if self.state else None,
                finished_visible=registry.capabilities_of(self.service).finished_visible_for_s,
                is_explained=ended or done,
            )
        )


def read_report(service_id: str, job_id: str, *, is_patient: bool = True) -> JobReport:
    """Read Beacon's side, then ask the service. Raises a 400 or 404 `Problem`.

    `is_patient`: give a service that does not answer its checks as much time as any other.
    """
    session = db.session()
    watched = require_service(session, service_id)
    if len(job_id) > MAX_JOB_ID_CHARS or not job_id.isprintable():
        expected = f"expected at most {MAX_JOB_ID_CHARS} printable characters"
        raise Problem(400, "Bad input", f"jobId: {expected}", errors={"jobId": expected})
    known = job_queries.find_job(session, service_id, job_id)
    items = job_queries.list_items(session, service_id, job_id)
    published = job_queries.read_job_events(session, actor().viewer, service_id, job_id)
    commands = job_commands.list_job_commands(session, service_id, job_id, MAX_COMMANDS)
    failed = failures.find_failed_job(session, service_id, job_id)
    cause = failures.find_group(session, failed.group_id) if failed is not None and failed.group_id else None
    neighbours = failures.find_neighbours(session, failed) if failed is not None and cause is not None else Neighbours()
    asked_at = utc_text()
    silent_since = _silent_since(watched.state)
    within_s = None if is_patient or silent_since is None else SILENT_TIMEOUT_S
    said, reason, is_unknown = _read_reported(watched.service, job_id, within_s)
    if is_unknown and known is None and failed is None and not items and not published.events and not commands:
        detail = "Neither Beacon nor the service knows a job with this id."
        raise Problem(404, "No such job", detail)
    return JobReport(
        watched.service,
        job_id,
        watched.state,
        known,
        items,
        published,
        commands,
        said,
        asked_at,
        reason,
        failed,
        cause,
        neighbours,
        silent_since if said is None and not is_unknown else None,
    )


def _silent_since(state: ServiceState | None) -> str | None:
    return (state.last_answer_at or state.failing_since) if state is not None and state.failing_since else None


def _read_reported(row: Service, job_id: str, within_s: float | None) -> tuple[JobDetail | None, str | None, bool]:
    """What the service reports, why it reports nothing, and whether it does not know the job."""
    try:
        said = _query(row, "detail", lambda source: source.detail(job_id), within_s)
    except ViewNotSupported as error:
        return None, f"{error}", False
    except SourceError as error:
        return None, f"the service {error.reason}", False
    except TooManyRequests:
        if within_s is None:
            raise _too_busy() from None
        return None, "others are waiting for its answer", False
    return said, None if said else "the service does not know this job", said is None


def query_view(row: Service, view: View, question: Callable[[Source], T]) -> T:
    """Raises `ViewNotSupported`, `SourceError` and a 503 `Problem`. Releases the caller's database connection."""
    try:
        return _query(row, view, question)
    except TooManyRequests:
        raise _too_busy() from None


def _too_busy() -> Problem:
    detail = "Too many requests to services are pending. Try again in a moment."
    return Problem(503, "Too busy", detail, headers=build_retry_after(1, 3))


def _query(row: Service, view: View, question: Callable[[Source], T], within_s: float | None = None) -> T:
    """With `within_s`, for a service that may hang, only a few requests are sent. Raises `TooManyRequests`, too."""
    why_not = registry.capabilities_of(row).why_not(view)
    if why_not is not None:
        raise ViewNotSupported(why_not)
    make, service_id = registry.source_maker(row, current_settings().job_list_bound), row.id
    db.session.remove()
    if within_s is None:
        return query_source(make, question, REQUEST_TIMEOUT_S, service_id=service_id)
    return query_source(make, question, within_s, service_id=service_id, max_pending=MAX_PENDING_WHILE_SILENT)

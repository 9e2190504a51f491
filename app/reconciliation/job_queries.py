"""Queries for the jobs of a service: pages by key, and the details of one job."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.eventlog import reader as log
from app.eventlog.audience import Viewer
from app.eventlog.models import EventRow
from app.infra.concurrency import yield_to_loop
from app.reconciliation.models import KnownJob, OpenItem

JOB_EVENT_TYPES = ("job.queued", "job.started", "job.finished", "job.failed")
# Rows of one service read at once when filtering by state, which has no index.
JOBS_PER_WINDOW = 5_000
# How far the log is read back for the events of one job.
MAX_EVENT_WINDOWS = 20
MAX_EVENTS = 100
MAX_ITEMS = 50


@dataclass(frozen=True, slots=True)
class JobPage:
    """`next` is the key to continue from, None at the end."""

    jobs: Sequence[KnownJob]
    next: str | None


@dataclass(frozen=True, slots=True)
class PublishedJobEvents:
    """The newest events of a job, newest first. `since` is how far back was read; None if that was everything."""

    events: list[log.Event]
    since: str | None


def read_job_page(session: Session, service_id: str, state: str | None, after: str, limit: int) -> JobPage:
    """The next `limit` known jobs with ids above `after`, of one state or of all."""
    mine = sa.select(KnownJob).where(KnownJob.service_id == service_id)
    found: list[KnownJob] = []
    while True:
        window = mine.where(KnownJob.job_id > after).order_by(KnownJob.job_id)
        end = None if state is None else session.scalar(_last_id_of(window))
        wanted = window if end is None else window.where(KnownJob.job_id <= end)
        if state is not None:
            wanted = wanted.where(KnownJob.state == state)
        found += session.scalars(wanted.limit(limit + 1 - len(found)))
        if len(found) > limit:
            return JobPage(found[:limit], found[limit - 1].job_id)
        if end is None:
            return JobPage(found, None)
        after = end
        yield_to_loop()


def _last_id_of(window: sa.Select[KnownJob]) -> sa.Select[str]:
    """The id at the end of the window; none if fewer rows are left."""
    return window.with_only_columns(KnownJob.job_id).offset(JOBS_PER_WINDOW - 1).limit(1)


def find_job(session: Session, service_id: str, job_id: str) -> KnownJob | None:
    return session.get(KnownJob, (service_id, job_id))


def list_items(session: Session, service_id: str, job_id: str) -> Sequence[OpenItem]:
    """The items of this job, closed ones too, oldest first; of many the newest."""
    of_job = sa.select(OpenItem).where(OpenItem.service_id == service_id, OpenItem.job_id == job_id)
    newest = session.scalars(of_job.order_by(OpenItem.since.desc()).limit(MAX_ITEMS)).all()
    return newest[::-1]


def read_job_events(session: Session, viewer: Viewer, service_id: str, job_id: str) -> PublishedJobEvents:
    """The events of this job, as far as `viewer` may see them; read backwards in windows of ids."""
    events: list[log.Event] = []
    since: str | None = None
    mine = EventRow.type.in_(JOB_EVENT_TYPES) & EventRow.audience.in_(sorted(viewer.audiences))
    for rows, start in log.read_windows_back(session, MAX_EVENT_WINDOWS, mine):
        found = log.decode_rows(row for row in rows if _may_mention(row.data_json, job_id))
        events += [event for event in found if _is_of(event, service_id, job_id)]
        since = log.first_time_after(session, start) if start else None
        if len(events) >= MAX_EVENTS:
            break
    return PublishedJobEvents(events[:MAX_EVENTS], since)


def _may_mention(text: object, job_id: str) -> bool:
    """Cheaper than parsing every event: the id is in the JSON as it is, or escaped."""
    return isinstance(text, str) and (job_id in text or json.dumps(job_id)[1:-1] in text or "\\" in text)


def _is_of(event: log.Event, service_id: str, job_id: str) -> bool:
    return event.data.get("service") == service_id and event.data.get("jobId") == job_id

"""What Beacon knows of the jobs of a service: a page of them by key, and everything about one."""

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

JOB_TYPES = ("job.queued", "job.started", "job.finished", "job.failed")
# Rows of one service looked at in one go, where only those of one state are wanted: that has no index.
WINDOW = 5_000
# How far back the log is read for what was published of one job.
EVENT_WINDOW = 1_000
EVENT_WINDOWS = 20
MAX_EVENTS = 100

_COLUMNS = (EventRow.id, EventRow.type, EventRow.audience, EventRow.data_json, EventRow.created_at)


@dataclass(frozen=True, slots=True)
class JobPage:
    """`next` is the key to go on from, None at the end."""

    jobs: Sequence[KnownJob]
    next: str | None


@dataclass(frozen=True, slots=True)
class Published:
    """The newest events of a job, newest first. `since`: how far back was looked; None where that was everything."""

    events: list[log.Event]
    since: str | None


def page(session: Session, service_id: str, state: str | None, after: str, limit: int) -> JobPage:
    """The next `limit` known jobs above the id `after`, of one state or of all."""
    mine = sa.select(KnownJob).where(KnownJob.service_id == service_id)
    found: list[KnownJob] = []
    while True:
        window = mine.where(KnownJob.job_id > after).order_by(KnownJob.job_id)
        end = None if state is None else session.scalar(_last_of(window))
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


def _last_of(window: sa.Select[KnownJob]) -> sa.Select[str]:
    """The id at the end of the window; none where fewer are left."""
    return window.with_only_columns(KnownJob.job_id).offset(WINDOW - 1).limit(1)


def known(session: Session, service_id: str, job_id: str) -> KnownJob | None:
    return session.get(KnownJob, (service_id, job_id))


def open_items(session: Session, service_id: str, job_id: str) -> Sequence[OpenItem]:
    of_job = sa.select(OpenItem).where(OpenItem.service_id == service_id, OpenItem.job_id == job_id)
    return session.scalars(of_job.where(OpenItem.closed_at.is_(None)).order_by(OpenItem.since)).all()


def published(session: Session, viewer: Viewer, service_id: str, job_id: str) -> Published:
    """What services said of this job, as far as `viewer` may see it; read backwards in windows of ids."""
    events: list[log.Event] = []
    end = log.head(session)
    mine = EventRow.type.in_(JOB_TYPES) & EventRow.audience.in_(sorted(viewer.audiences))
    for _ in range(EVENT_WINDOWS):
        window = sa.select(*_COLUMNS).where(EventRow.id > end - EVENT_WINDOW, EventRow.id <= end, mine)
        rows = [row for row in session.execute(window.order_by(EventRow.id.desc())) if _may_name(row.data_json, job_id)]
        events += [event for event in log.decode_rows(rows) if _is_of(event, service_id, job_id)]
        end -= EVENT_WINDOW
        if end <= 0 or len(events) >= MAX_EVENTS:
            break
        yield_to_loop()
    oldest = sa.select(EventRow.created_at).where(EventRow.id > max(end, 0)).order_by(EventRow.id).limit(1)
    return Published(events[:MAX_EVENTS], None if end <= 0 else session.scalar(oldest))


def _may_name(text: object, job_id: str) -> bool:
    """Cheaper than reading the JSON of every event: the id stands in it as it is, or escaped."""
    return isinstance(text, str) and (job_id in text or json.dumps(job_id)[1:-1] in text or "\\" in text)


def _is_of(event: log.Event, service_id: str, job_id: str) -> bool:
    return event.data.get("service") == service_id and event.data.get("jobId") == job_id

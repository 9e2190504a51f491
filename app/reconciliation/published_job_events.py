"""Reads the newest published events of several jobs at once, for a page that lists them."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.eventlog import reader as log
from app.eventlog.audience import Viewer
from app.eventlog.models import EventRow
from app.infra.concurrency import TimeSlice, yield_to_loop
from app.reconciliation.job_queries import JOB_EVENT_TYPES

# The log is read backwards in windows of ids, because it has no index by job.
EVENTS_PER_WINDOW = 1_000
MAX_WINDOWS = 10
MAX_EVENTS_PER_JOB = 3

_COLUMNS = (EventRow.id, EventRow.type, EventRow.audience, EventRow.data_json, EventRow.created_at)


def read_events_by_job(
    session: Session, viewer: Viewer, service_id: str, job_ids: Collection[str]
) -> Mapping[str, list[log.Event]]:
    """Events by job, newest first, as far as `viewer` may see them, at most `MAX_EVENTS_PER_JOB` of each.

    Reads back at most `MAX_WINDOWS` windows.
    """
    wanted, found = set(job_ids), dict[str, list[log.Event]]()
    end, pace = log.head(session), TimeSlice()
    mine = EventRow.type.in_(JOB_EVENT_TYPES) & EventRow.audience.in_(sorted(viewer.audiences))
    for _ in range(MAX_WINDOWS):
        if end <= 0 or not wanted:
            break
        window = sa.select(*_COLUMNS).where(EventRow.id > end - EVENTS_PER_WINDOW, EventRow.id <= end, mine)
        rows = session.execute(window.order_by(EventRow.id.desc())).all()
        for event in log.decode_rows(row for row in rows if service_id in str(row.data_json)):
            job_id = event.data.get("jobId")
            if job_id in wanted and event.data.get("service") == service_id:
                found.setdefault(job_id, []).append(event)
                if len(found[job_id]) == MAX_EVENTS_PER_JOB:
                    wanted.discard(job_id)
            pace()
        end -= EVENTS_PER_WINDOW
        yield_to_loop()
    return found

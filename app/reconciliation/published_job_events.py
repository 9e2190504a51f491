"""Reads the newest published events of several jobs at once, for a page that lists them."""

from collections.abc import Collection, Mapping

from sqlalchemy.orm import Session

from app.eventlog import reader as log
from app.eventlog.audience import Viewer
from app.eventlog.models import EventRow
from app.infra.concurrency import TimeSlice
from app.reconciliation.job_queries import JOB_EVENT_TYPES

MAX_WINDOWS = 10
MAX_EVENTS_PER_JOB = 3


def read_events_by_job(
    session: Session, viewer: Viewer, service_id: str, job_ids: Collection[str]
) -> Mapping[str, list[log.Event]]:
    """Events by job, newest first, as far as `viewer` may see them, at most `MAX_EVENTS_PER_JOB` of each.

    Reads back at most `MAX_WINDOWS` windows.
    """
    wanted, found = set(job_ids), dict[str, list[log.Event]]()
    pace = TimeSlice()
    mine = EventRow.type.in_(JOB_EVENT_TYPES) & EventRow.audience.in_(sorted(viewer.audiences))
    for rows, _ in log.read_windows_back(session, MAX_WINDOWS if wanted else 0, mine):
        for event in log.decode_rows(row for row in rows if service_id in str(row.data_json)):
            job_id = event.data.get("jobId")
            if job_id in wanted and event.data.get("service") == service_id:
                found.setdefault(job_id, []).append(event)
                if len(found[job_id]) == MAX_EVENTS_PER_JOB:
                    wanted.discard(job_id)
            pace()
        if not wanted:
            break
    return found

"""What services published of several jobs at once, the newest first: for a page that lists them."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.eventlog import reader as log
from app.eventlog.audience import Viewer
from app.eventlog.models import EventRow
from app.infra.concurrency import TimeSlice, yield_to_loop
from app.reconciliation.job_queries import JOB_TYPES

# Read backwards in windows of ids, as the log has no index by job.
WINDOW = 1_000
WINDOWS = 10
KEPT = 3  # of one job

_COLUMNS = (EventRow.id, EventRow.type, EventRow.audience, EventRow.data_json, EventRow.created_at)


def of_jobs(
    session: Session, viewer: Viewer, service_id: str, job_ids: Collection[str]
) -> Mapping[str, list[log.Event]]:
    """By job, as far as `viewer` may see it, at most `KEPT` of each; looks no further back than `WINDOWS`."""
    wanted, found = set(job_ids), dict[str, list[log.Event]]()
    end, pace = log.head(session), TimeSlice()
    mine = EventRow.type.in_(JOB_TYPES) & EventRow.audience.in_(sorted(viewer.audiences))
    for _ in range(WINDOWS):
        if end <= 0 or not wanted:
            break
        window = sa.select(*_COLUMNS).where(EventRow.id > end - WINDOW, EventRow.id <= end, mine)
        rows = session.execute(window.order_by(EventRow.id.desc())).all()
        for event in log.decode_rows(row for row in rows if service_id in str(row.data_json)):
            job_id = event.data.get("jobId")
            if job_id in wanted and event.data.get("service") == service_id:
                found.setdefault(job_id, []).append(event)
                if len(found[job_id]) == KEPT:
                    wanted.discard(job_id)
            pace()
        end -= WINDOW
        yield_to_loop()
    return found

"""Finds scheduled RQ jobs that are overdue: their time has passed and no scheduler has queued them."""

from collections.abc import Iterable
from datetime import UTC, datetime

from app.sources.protocol import Anomaly, Job, StuckJob
from app.sources.rq.rq_snapshot import OverdueJobs, RqSnapshot


def find_anomaly(snapshot: RqSnapshot) -> Iterable[Anomaly]:
    """Return one anomaly for all queues, with number, oldest due time and, if known, the reason; or nothing."""
    if not snapshot.overdue:
        return ()
    late = snapshot.overdue.values()
    unserved = sorted(place.queue for place, one in snapshot.overdue.items() if not one.served)
    why = _describe_unserved(unserved) if unserved else ""
    ids = (job_id for one in late for job_id, _ in one.jobs)
    return (Anomaly.overdue(ids, min(one.since for one in late), why, sum(one.number for one in late)),)


def list_stuck(snapshot: RqSnapshot) -> list[StuckJob]:
    """Return each overdue job for the list of stuck jobs."""
    return [
        StuckJob(Job(job_id, "scheduled", place.queue), _explain(late), datetime.fromtimestamp(due, UTC))
        for place, late in snapshot.overdue.items()
        for job_id, due in late.jobs
    ]


def _explain(late: OverdueJobs) -> str:
    return "it is overdue" if late.served else "it is overdue and no scheduler serves its queue"


def _describe_unserved(queues: list[str]) -> str:
    more = f" and {len(queues) - 3:,} more" if len(queues) > 3 else ""
    return f"no scheduler serves {', '.join(queues[:3])}{more}"

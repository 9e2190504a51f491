"""Finds scheduled RQ jobs that are overdue: their time has passed and no scheduler has queued them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import chain

from app.sources.protocol import Anomaly, Job, StuckJob
from app.sources.rq.rq_snapshot import OverdueJobs, RqSnapshot


def find_anomaly(snapshot: RqSnapshot) -> Iterable[Anomaly]:
    """Return one anomaly for all queues, with the oldest due time and, if known, the reason; or nothing."""
    if not snapshot.overdue:
        return ()
    late = snapshot.overdue.values()
    unserved = sorted(place.queue for place, one in snapshot.overdue.items() if not one.served)
    why = _describe_unserved(unserved) if unserved else ""
    return (Anomaly.overdue(chain.from_iterable(one.job_ids for one in late), min(one.since for one in late), why),)


def list_stuck(snapshot: RqSnapshot) -> list[StuckJob]:
    """Return each overdue job for the list of stuck jobs."""
    return [
        StuckJob(Job(job_id, "scheduled", place.queue), _explain(late), datetime.fromtimestamp(late.since, UTC))
        for place, late in snapshot.overdue.items()
        for job_id in late.job_ids
    ]


def _explain(late: OverdueJobs) -> str:
    return "it is overdue" if late.served else "it is overdue and no scheduler serves its queue"


def _describe_unserved(queues: list[str]) -> str:
    more = f" and {len(queues) - 3:,} more" if len(queues) > 3 else ""
    return f"no scheduler serves {', '.join(queues[:3])}{more}"

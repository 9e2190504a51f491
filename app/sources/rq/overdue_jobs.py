"""Finds scheduled RQ jobs that are overdue: their time has passed and no scheduler has queued them."""

from collections.abc import Iterable
from datetime import UTC, datetime

from app.infra.clock import display_text
from app.sources.protocol import Anomaly, Job, StuckJob
from app.sources.rq.rq_snapshot import OverdueJobs, RqSnapshot


def find_anomaly(snapshot: RqSnapshot) -> Iterable[Anomaly]:
    """Return one anomaly for all queues, with the oldest due time and, if known, the reason; or nothing."""
    if not snapshot.overdue:
        return ()
    job_ids = sorted({job_id for late in snapshot.overdue.values() for job_id in late.job_ids})
    oldest = min(late.since for late in snapshot.overdue.values())
    unserved = sorted(place.queue for place, late in snapshot.overdue.items() if not late.served)
    said = [
        f"the oldest was due at {display_text(datetime.fromtimestamp(oldest, UTC))}",
        *([_describe_unserved(unserved)] if unserved else []),
    ]
    return (Anomaly("overdue", tuple(job_ids), "; ".join(said)),)


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

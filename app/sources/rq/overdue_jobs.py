"""Scheduled jobs of RQ whose time has come and gone: nobody queues them, and nothing else would say so."""

from collections.abc import Iterable
from datetime import UTC, datetime

from app.sources.protocol import Job, Oddity, StuckJob
from app.sources.rq.rq_snapshot import OverdueJobs, RqSnapshot


def find_anomaly(snapshot: RqSnapshot) -> Iterable[Oddity]:
    """One for all queues, with the oldest and, where it is known, why; nothing where every job is in time."""
    if not snapshot.overdue:
        return ()
    job_ids = sorted({job_id for late in snapshot.overdue.values() for job_id in late.job_ids})
    oldest = min(late.since for late in snapshot.overdue.values())
    unserved = sorted(place.queue for place, late in snapshot.overdue.items() if not late.served)
    said = [f"the oldest was due at {_format_time(oldest)}", *([_describe_unserved(unserved)] if unserved else [])]
    return (Oddity("overdue", tuple(job_ids), "; ".join(said)),)


def list_stuck(snapshot: RqSnapshot) -> list[StuckJob]:
    """Each of them, for a person who asks what does not move."""
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


def _format_time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"

"""The details of a Celery service for people: workers, single tasks and stuck tasks."""

from collections.abc import Sequence
from datetime import UTC, datetime

from app.sources.celery.broker import BrokerSnapshot
from app.sources.celery.celery_workers import ROSTER_FRESH_S, Roster, WorkerAnswer
from app.sources.celery.messages import TaskMessage
from app.sources.celery.results import ENDS, TaskResult
from app.sources.protocol import Job, JobDetail, StuckJob, Worker

MAX_QUEUES = 100  # of one worker


def list_workers(roster: Roster, orphans: set[str], now: float) -> tuple[Worker, ...] | None:
    """Return the workers; None if none ever answered but some may exist. A silent worker keeps its last answer."""
    if now - roster.at > ROSTER_FRESH_S or not (roster.answers or roster.settled):
        return None
    alive = [_build_worker(name, answer) for name, answer in sorted(roster.answers.items())]
    dead = {gone.worker: gone.at for gone in roster.departures if gone.killed and not orphans.isdisjoint(gone.held)}
    return (
        *alive,
        *(Worker(name, "dead", seen_at=to_datetime(at)) for name, at in dead.items() if name not in roster.answers),
    )


def build_detail(task_id: str, snapshot: BrokerSnapshot, ended: TaskResult | None, now: float) -> JobDetail | None:
    """Build a task's details from its message and its result; None if it has neither."""
    taken, (queue, waiting) = snapshot.taken.get(task_id), snapshot.queued.get(task_id, ("", None))
    message = taken.message if taken else waiting
    if message is None and ended is None:
        return None
    if message is None or (ended is not None and ended.state in ENDS):
        state = ENDS.get(ended.state, ended.state.lower()) if ended else ""
    else:
        state = message.state_at(now) if taken else "queued"
    place = message.route if message and taken else queue or None
    return JobDetail(
        Job(task_id, state, place, message.attempt if message else None),
        description=_describe(message),
        started_at=None,
        ended_at=ended.ended_at if ended else None,
        error=ended.error if ended else None,
    )


def find_stuck(snapshot: BrokerSnapshot, visibility_timeout_s: float, now: float) -> Sequence[StuckJob]:
    """Return unacknowledged tasks that were taken longer ago than the visibility timeout, except those with an ETA."""
    reason = f"taken by a worker and not acknowledged for more than {visibility_timeout_s:g} s"
    return [
        StuckJob(Job(task_id, "reserved", taken.message.route, taken.message.attempt), reason, to_datetime(taken.at))
        for task_id, taken in snapshot.taken.items()
        if taken.at is not None and now - taken.at > visibility_timeout_s and taken.message.due is None
    ]


def _describe(message: TaskMessage | None) -> str | None:
    if message is None or not message.task:
        return None
    return f"{message.task}, due {message.eta}" if message.eta else message.task


def _build_worker(name: str, answer: WorkerAnswer) -> Worker:
    first = next(iter(answer.active), None)
    queues = tuple(sorted(answer.queues or ()))[:MAX_QUEUES]
    return Worker(name, "busy" if first else "idle", queues, job_id=first, seen_at=to_datetime(answer.at))


def to_datetime(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)

"""The details of a Celery service for people: workers, single tasks and stuck tasks."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from app.sources.arguments import ShowArguments, show_reprs, show_values
from app.sources.celery.broker import BrokerSnapshot
from app.sources.celery.celery_workers import ROSTER_FRESH_S, Roster, WorkerAnswer
from app.sources.celery.messages import TaskCall, TaskMessage
from app.sources.celery.results import ENDS, TaskResult
from app.sources.protocol import MAX_TRACEBACK_BYTES, Job, JobDetail, StuckJob, Worker

MAX_QUEUES = 100  # of one worker
NO_TIMES = dict.fromkeys(("enqueuedAt", "startedAt"), "Celery does not record it")
NOT_EXTENDED = "Celery records it only with result_extended"
DEATH_NOTE = "its death is detected within 5 s of the end of its connection to Redis"
EXTENDED_FIELDS = ("function", "queue", "attempt", "worker")


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


def build_detail(
    task_id: str, snapshot: BrokerSnapshot, ended: TaskResult | None, call: TaskCall | None, show: ShowArguments
) -> JobDetail | None:
    """Build a task's details from its message and its result; None if it has neither."""
    taken, (queue, waiting) = snapshot.taken.get(task_id), snapshot.queued.get(task_id, ("", None))
    message = taken.message if taken else waiting
    if message is None and ended is None:
        return None
    facts = build_facts(task_id, ended) if ended is not None else JobDetail(Job(task_id, "queued"), not_told=NO_TIMES)
    if message is not None and (ended is None or ended.state not in ENDS):
        state = message.state_at(time.time()) if taken else "queued"
        place = message.route if taken else queue or None
        facts = replace(
            facts,
            job=Job(task_id, state, place, message.attempt),
            function=message.task or None,
            scheduled_for=to_datetime(message.due) if message.due is not None else None,
            not_told=NO_TIMES,
        )
    # A message stays with its broker for a moment after the result is there: the facts must not change with it.
    called = None if ended is not None and ended.state in ENDS else call
    return replace(
        facts,
        description=_describe(message),
        traceback=ended.traceback[-MAX_TRACEBACK_BYTES:] or None if ended else None,
        is_traceback_cut=ended is not None and len(ended.traceback) > MAX_TRACEBACK_BYTES,
        arguments=_show_arguments(ended, called, show),
        related=called.related if called else ended.related if ended else {},
    )


def build_facts(task_id: str, ended: TaskResult) -> JobDetail:
    """Build the facts of a task from its result."""
    state = ENDS.get(ended.state, ended.state.lower())
    return JobDetail(
        Job(task_id, state, ended.queue, None if ended.retries is None else ended.retries + 1),
        ended_at=ended.ended_at,
        worker=ended.worker,
        error=ended.error,
        function=ended.task,
        not_told=NO_TIMES if ended.is_extended else NO_TIMES | dict.fromkeys(EXTENDED_FIELDS, NOT_EXTENDED),
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
    return Worker(name, "busy" if first else "idle", queues, first, to_datetime(answer.at), DEATH_NOTE)


def to_datetime(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _show_arguments(ended: TaskResult | None, call: TaskCall | None, show: ShowArguments) -> str | None:
    if show == "none":
        return None
    if call is not None and (call.args or call.kwargs):
        return show_reprs(call.args, call.kwargs, show)
    return show_values(ended.args, ended.kwargs, show) if ended is not None and ended.is_extended else None

"""Finds overdue Celery tasks, queued or held by a worker: their ETA has passed and no worker runs them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from app.infra.concurrency import iterate_in_slices
from app.sources.celery.broker import BrokerSnapshot
from app.sources.celery.celery_workers import ROSTER_FRESH_S, Roster
from app.sources.celery.task_details import to_datetime
from app.sources.protocol import Anomaly, Job, StuckJob

# A worker checks its clock every second. A task that is later than this is overdue.
OVERDUE_AFTER_S = 60.0
_HELD = "it is overdue and no worker reports running it"
_WAITS = "it is overdue and waits in its queue"


class _OverdueTask(NamedTuple):
    task_id: str
    due: float
    is_held: bool


class OverdueTasks:
    """Finds overdue tasks and remembers when it first saw each between polls.

    A task that is sent with a past ETA counts as overdue only after it has been there for the same time: until then the
    workers are about to take it.
    """

    def __init__(self) -> None:
        # For each task with an ETA: when it was first seen, and its ETA then (a retry has another). None before a poll.
        self._seen: dict[str, tuple[float, float]] | None = None

    def find(self, snapshot: BrokerSnapshot, roster: Roster, now: float) -> Iterable[Anomaly]:
        """Return one anomaly for all queues, with the oldest due time and, if known, the reason; or nothing."""
        late = [one for one in self._find_candidates(snapshot, roster, now) if now - one.due > OVERDUE_AFTER_S]
        if not late:
            return ()
        oldest, why = min(one.due for one in late), _explain(late, roster, now)
        return (Anomaly.overdue((one.task_id for one in late), oldest, why),)

    def _find_candidates(self, snapshot: BrokerSnapshot, roster: Roster, now: float) -> Iterator[_OverdueTask]:
        """Yield tasks that have been there for long enough and that no worker can be running."""
        before, seen = self._seen, dict[str, tuple[float, float]]()
        runs = roster.running_tasks()

        def has_been_there(task_id: str, due: float) -> bool:
            first = now if before is not None else float("-inf")
            if before is not None and task_id in before and before[task_id][1] == due:
                first = before[task_id][0]
            seen[task_id] = first, due
            return now - first > OVERDUE_AFTER_S

        for _queue, message in iterate_in_slices(snapshot.queued.values()):
            if message.due is not None and has_been_there(message.id, message.due):
                yield _OverdueTask(message.id, message.due, is_held=False)
        for task_id, taken in iterate_in_slices(snapshot.taken.items()):
            due = taken.message.due
            if due is None or not has_been_there(task_id, due) or task_id in runs or taken.at is None:
                continue
            if _is_roster_current(roster, now) and max(due + OVERDUE_AFTER_S, taken.at) < roster.at:
                yield _OverdueTask(task_id, due, is_held=True)
        self._seen = seen


def find_overdue(snapshot: BrokerSnapshot, now: float) -> Sequence[StuckJob]:
    """Return tasks whose ETA was over a minute ago; includes running tasks that are acknowledged late."""
    held = ((taken.message, "reserved", taken.message.route, _HELD) for taken in snapshot.taken.values())
    waiting = ((message, "queued", queue, _WAITS) for queue, message in snapshot.queued.values())
    return [
        StuckJob(Job(message.id, state, queue, message.attempt), reason, to_datetime(message.due))
        for message, state, queue, reason in chain(held, waiting)
        if message.due is not None and now - message.due > OVERDUE_AFTER_S
    ]


def _is_roster_current(roster: Roster, now: float) -> bool:
    """True if every worker has just reported its tasks. Otherwise a task that is acknowledged late may be running."""
    return roster.settled and now - roster.at < ROSTER_FRESH_S


def _explain(late: list[_OverdueTask], roster: Roster, now: float) -> str:
    if not _is_roster_current(roster, now):
        return ""
    if not roster.answered:
        return "no worker is connected"
    if all(roster.answers[name].active for name in roster.answered):
        return "every worker is busy"
    return "a worker holds it and does not run it" if any(one.is_held for one in late) else ""

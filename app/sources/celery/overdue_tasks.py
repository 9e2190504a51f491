"""Celery's tasks whose time has come and gone, wherever they are: nobody runs them, and nothing else would say so."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from app.infra.concurrency import iterate_in_slices
from app.sources.celery.broker import Snapshot
from app.sources.celery.celery_workers import ROSTER_FRESH_S, Roster
from app.sources.celery.task_details import OVERDUE_AFTER_S
from app.sources.protocol import Oddity


class _Late(NamedTuple):
    task_id: str
    due: float
    is_held: bool


class OverdueTasks:
    """Of one source, between its looks. A task that is sent with a time that is over already is late only once it has
    been there for as long: until then its workers are about to take it."""

    def __init__(self) -> None:
        # When each task for later was seen first, and its time then: a retry has another one. None before any look.
        self._seen: dict[str, tuple[float, float]] | None = None

    def find(self, snapshot: Snapshot, roster: Roster, now: float) -> Iterable[Oddity]:
        """One for all queues, with the oldest and, where it is known, why; nothing where every task is in time."""
        late = [one for one in self._for_later(snapshot, roster, now) if now - one.due > OVERDUE_AFTER_S]
        if not late:
            return ()
        why = _why(late, roster, now)
        said = [f"the oldest was due at {_clock(min(one.due for one in late))}", *([why] if why else [])]
        return (Oddity("overdue", tuple(sorted({one.task_id for one in late})), "; ".join(said)),)

    def _for_later(self, snapshot: Snapshot, roster: Roster, now: float) -> Iterator[_Late]:
        """Those that have been there for long enough, and that no worker may be running."""
        before, seen = self._seen, dict[str, tuple[float, float]]()
        runs = roster.running()

        def has_been_there(task_id: str, due: float) -> bool:
            first = now if before is not None else float("-inf")
            if before is not None and task_id in before and before[task_id][1] == due:
                first = before[task_id][0]
            seen[task_id] = first, due
            return now - first > OVERDUE_AFTER_S

        for _queue, message in iterate_in_slices(snapshot.queued.values()):
            if message.due is not None and has_been_there(message.id, message.due):
                yield _Late(message.id, message.due, is_held=False)
        for task_id, taken in iterate_in_slices(snapshot.taken.items()):
            due = taken.message.due
            if due is None or not has_been_there(task_id, due) or task_id in runs or taken.at is None:
                continue
            if _is_told(roster, now) and max(due + OVERDUE_AFTER_S, taken.at) < roster.at:
                yield _Late(task_id, due, is_held=True)
        self._seen = seen


def _is_told(roster: Roster, now: float) -> bool:
    """Whether every worker has said just now what it runs: otherwise one that is acknowledged late may be running."""
    return roster.settled and now - roster.at < ROSTER_FRESH_S


def _why(late: list[_Late], roster: Roster, now: float) -> str:
    if not _is_told(roster, now):
        return ""
    if not roster.answered:
        return "no worker is connected"
    if all(roster.answers[name].active for name in roster.answered):
        return "every worker is busy"
    return "a worker holds it and does not run it" if any(one.is_held for one in late) else ""


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"

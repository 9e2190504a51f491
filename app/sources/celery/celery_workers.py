"""Tracks which workers exist and which tasks they hold, from their answers and events. Pure: the time is passed in.

Most tasks are in no Redis list while they run: Celery acknowledges them when they start. So if a task has no result,
only the workers can say that it is not lost, and only if all of them answer. There are three cases. A worker that is
connected and does not answer is **silent**: it may hold any vanished task. One that announced its shutdown, or whose
shutdown could have been missed, has **left**: it may still be finishing its tasks. One that is gone without an
announcement, although Beacon was listening, was **killed**: its tasks are lost.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

# By default workers send a heartbeat event every 2 s.
HEARTBEAT_TIMEOUT_S = 7.0
FIRST_HEARTBEAT_S = 3.0
# Maximum time between the end of a worker's subscription and its offline event; usually milliseconds.
OFFLINE_NOTICE_S = 0.4
# How long a worker that left may still be finishing a task.
MAX_FINISHING_S = 3600.0
MAX_CLOCK_DIFFERENCE_S = 1.0
MAX_DEPARTURES = 200
# Limit on remembered workers; the one that was first seen is dropped first.
MAX_REMEMBERED_HEARTBEATS = 5_000
# Older answers of workers are not shown as current.
ROSTER_FRESH_S = 15.0


class RunningTask(NamedTuple):
    task: str
    route: str
    started_at: float | None


@dataclass(frozen=True, slots=True)
class WorkerAnswer:
    """The tasks that one worker reported: `reserved` wait in its memory, `active` run. `queues`: those that it consumes
    from; None if it did not say."""

    at: float
    reserved: frozenset[str]
    active: Mapping[str, RunningTask]
    pid: int | None = None
    queues: frozenset[str] | None = None

    @property
    def held_tasks(self) -> frozenset[str]:
        return self.reserved | frozenset(self.active)


@dataclass(frozen=True, slots=True)
class Departure:
    worker: str
    pid: int | None
    at: float
    killed: bool
    held: frozenset[str]


@dataclass(frozen=True, slots=True)
class Inspection:
    """One round of requests: how many connected workers received them, and the answers that came in time."""

    began: float
    asked: int
    answers: Mapping[str, WorkerAnswer]


@dataclass(frozen=True, slots=True)
class Roster:
    """All workers after an inspection. `settled`: every worker answered and every missing worker is explained."""

    at: float = 0.0
    settled: bool = False
    asked: int = 0
    answered: frozenset[str] = frozenset()
    answers: Mapping[str, WorkerAnswer] = field(default_factory=dict)
    departures: tuple[Departure, ...] = ()

    def running_tasks(self) -> dict[str, tuple[str, RunningTask]]:
        """Return the running tasks of the latest answers: task id to worker and task."""
        return {
            task_id: (name, running) for name in self.answered for task_id, running in self.answers[name].active.items()
        }

    def served_queues(self) -> frozenset[str] | None:
        """Return the queues that workers consume from; None if a worker has not said which, or may be missing."""
        reported = [self.answers[name].queues for name in self.answered]
        known = [queues for queues in reported if queues is not None]
        return frozenset[str]().union(*known) if self.settled and len(known) == len(reported) else None

    def find_holder(self, task_id: str) -> str | None:
        return next((name for name in self.answered if task_id in self.answers[name].held_tasks), None)

    def may_be_elsewhere(self, task_id: str, last_seen: float | None, now: float) -> bool:
        """True if a task that no worker reported may be with a worker that could not be asked."""
        if not self.settled:
            return True
        return any(
            departure
            for departure in self.departures
            if not departure.killed
            and now - departure.at < MAX_FINISHING_S
            and (task_id in departure.held or last_seen is None or last_seen <= departure.at + MAX_CLOCK_DIFFERENCE_S)
        )

    def find_orphans(self, taken: Mapping[str, float]) -> set[str]:
        """Return the tasks whose worker was killed, of unacknowledged ones that were taken at these times."""
        killed = [departure for departure in self.departures if departure.killed]
        found = {
            task_id
            for departure in killed
            for task_id in departure.held
            if taken.get(task_id, departure.at + 2 * MAX_CLOCK_DIFFERENCE_S) <= departure.at + MAX_CLOCK_DIFFERENCE_S
        }
        if killed and self.settled and self.asked == 0 and all(departure.killed for departure in self.departures):
            last = max(departure.at for departure in killed)
            found |= {task_id for task_id, at in taken.items() if at <= last}
        return {task_id for task_id in found if self.find_holder(task_id) is None}


class RosterTracker:
    """Maintains the roster from subscriptions, announcements and inspections, in the order in which they happen."""

    def __init__(self) -> None:
        self._listening_since: float | None = None
        self._beats: dict[str, tuple[int | None, float]] = {}
        self._answers: dict[str, WorkerAnswer] = {}
        self._absent: dict[str, float] = {}
        self._departures: list[Departure] = []
        self.roster = Roster()

    @property
    def is_waiting(self) -> bool:
        """True if a missing worker needs another inspection soon."""
        return bool(self._absent)

    def start_listening(self, at: float) -> None:
        self._listening_since = at

    def stop_listening(self) -> None:
        self._listening_since = None
        self.roster = Roster(departures=tuple(self._departures))

    def record_announcement(self, kind: str, worker: str, pid: int | None, at: float) -> None:
        before = self._beats.get(worker)
        if kind == "worker-offline":
            self._beats.pop(worker, None)
            self._record_departure(worker, at, killed=False)
            # The announcement came late: the worker may still be finishing its tasks.
            self._departures = [
                replace(d, killed=d.killed and (d.worker, d.pid) != (worker, pid)) for d in self._departures
            ]
            return
        if before is not None and before[0] != pid:
            self._record_departure(worker, at, killed=self._has_listened_since(before[1]))
        self._beats[worker] = (pid, at)
        if len(self._beats) > MAX_REMEMBERED_HEARTBEATS:
            del self._beats[next(iter(self._beats))]

    def record_inspection(self, inspection: Inspection, now: float) -> Roster:
        names = frozenset(inspection.answers)
        for name, answer in inspection.answers.items():
            pid = self._beats.get(name, (None, 0.0))[0]
            self._answers[name] = replace(answer, pid=pid)
            self._absent.pop(name, None)
            self._departures = [d for d in self._departures if d.worker != name or pid is None or d.pid != pid]
        complete = len(names) >= inspection.asked and not self._has_unanswering_worker(names, now)
        if complete:
            self._record_absences(names, inspection.began, now)
        is_early = not names and (self._listening_since is None or now - self._listening_since < FIRST_HEARTBEAT_S)
        self.roster = Roster(
            at=inspection.began,
            settled=complete and not self._absent and not is_early,
            asked=inspection.asked,
            answered=names,
            answers=dict(self._answers),
            departures=tuple(self._departures),
        )
        return self.roster

    def _has_unanswering_worker(self, answered: Iterable[str], now: float) -> bool:
        """True if a worker sends heartbeats but has never answered: its remote control may be off."""
        known = {*answered, *self._answers}
        return any(name not in known and now - at < HEARTBEAT_TIMEOUT_S for name, (_, at) in self._beats.items())

    def _record_absences(self, answered: frozenset[str], began: float, now: float) -> None:
        for name in [name for name in self._answers if name not in answered]:
            since = self._absent.setdefault(name, now)
            if began >= since + OFFLINE_NOTICE_S:
                answer = self._answers[name]
                self._beats.pop(name, None)
                self._record_departure(name, now, killed=answer.pid is not None and self._has_listened_since(answer.at))

    def _has_listened_since(self, moment: float) -> bool:
        return self._listening_since is not None and self._listening_since <= moment

    def _record_departure(self, worker: str, at: float, *, killed: bool) -> None:
        self._absent.pop(worker, None)
        answer = self._answers.pop(worker, None)
        held = answer.held_tasks if answer else frozenset()
        pid = answer.pid if answer else None
        self._departures = [*self._departures, Departure(worker, pid, at, killed, held)][-MAX_DEPARTURES:]

"""Which workers there are and what is in their hands, from what they answer and announce. Pure: told the time.

Most tasks are in no list of Redis while they run: Celery acknowledges them when they start. So where no result
tells of a task, only the workers can say that it is not lost, and only if all of them answered. Three things are
kept apart. A worker that is connected and does not answer is **silent**: whatever is gone may be with it. One that
announced its end, or whose end could have been missed, has **left**: it may be finishing what it had. One that is
gone without an parse_announcement, which would have been heard, was **killed**: what it had is lost.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

# Workers announce themselves every 2 s, unless told otherwise.
HEARTBEAT_TIMEOUT_S = 7.0
FIRST_HEARTBEAT_S = 3.0
# Between the end of a worker's subscription and its parse_announcement lie milliseconds.
OFFLINE_NOTICE_S = 0.4
# For how long one that left may still be finishing a task.
MAX_FINISHING_S = 3600.0
CLOCKS_DIFFER_S = 1.0
MAX_DEPARTURES = 200
# Workers whose announcements are remembered; the one that was heard of first is forgotten first.
MAX_REMEMBERED_HEARTBEATS = 5_000
# Older answers of workers are not shown as the present.
ROSTER_FRESH_S = 15.0


class RunningTask(NamedTuple):
    task: str
    route: str
    started_at: float | None


@dataclass(frozen=True, slots=True)
class WorkerAnswer:
    """What one worker said it had: `reserved` waits in its memory, `active` runs. `queues`: those that it takes tasks
    from; None where it did not say."""

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
    """One round of questions: how many connected workers got them, and the answers that came in time."""

    began: float
    asked: int
    answers: Mapping[str, WorkerAnswer]


@dataclass(frozen=True, slots=True)
class Roster:
    """What is known after an inspection. `settled`: every worker answered, and nobody's absence is unexplained."""

    at: float = 0.0
    settled: bool = False
    asked: int = 0
    answered: frozenset[str] = frozenset()
    answers: Mapping[str, WorkerAnswer] = field(default_factory=dict)
    departures: tuple[Departure, ...] = ()

    def running_tasks(self) -> dict[str, tuple[str, RunningTask]]:
        """Of the newest answers: task id to worker and task."""
        return {
            task_id: (name, running) for name in self.answered for task_id, running in self.answers[name].active.items()
        }

    def served_queues(self) -> frozenset[str] | None:
        """The queues that workers take tasks from; None where somebody who may be there has not said which."""
        told = [self.answers[name].queues for name in self.answered]
        known = [queues for queues in told if queues is not None]
        return frozenset[str]().union(*known) if self.settled and len(known) == len(told) else None

    def find_holder(self, task_id: str) -> str | None:
        return next((name for name in self.answered if task_id in self.answers[name].held_tasks), None)

    def may_be_elsewhere(self, task_id: str, last_seen: float | None, now: float) -> bool:
        """Whether a task that nobody named may be with a worker that could not be asked."""
        if not self.settled:
            return True
        return any(
            departure
            for departure in self.departures
            if not departure.killed
            and now - departure.at < MAX_FINISHING_S
            and (task_id in departure.held or last_seen is None or last_seen <= departure.at + CLOCKS_DIFFER_S)
        )

    def find_orphans(self, taken: Mapping[str, float]) -> set[str]:
        """Of tasks taken at these times and not acknowledged, those whose worker was killed."""
        killed = [departure for departure in self.departures if departure.killed]
        found = {
            task_id
            for departure in killed
            for task_id in departure.held
            if taken.get(task_id, departure.at + 2 * CLOCKS_DIFFER_S) <= departure.at + CLOCKS_DIFFER_S
        }
        if killed and self.settled and self.asked == 0 and all(departure.killed for departure in self.departures):
            last = max(departure.at for departure in killed)
            found |= {task_id for task_id, at in taken.items() if at <= last}
        return {task_id for task_id in found if self.find_holder(task_id) is None}


class RosterTracker:
    """Keeps the roster: told of subscriptions, announcements and inspections, in the order in which they came."""

    def __init__(self) -> None:
        self._listening_since: float | None = None
        self._beats: dict[str, tuple[int | None, float]] = {}
        self._answers: dict[str, WorkerAnswer] = {}
        self._absent: dict[str, float] = {}
        self._departures: list[Departure] = []
        self.roster = Roster()

    @property
    def is_waiting(self) -> bool:
        """Whether an absence needs another inspection soon."""
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
            # Said after all, if late: it may be finishing what it had.
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
        """Whether somebody is announced who has never answered: its remote control may be off."""
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

"""Looks up a vanished task: asks the workers, then the queues and, last, its result."""

import time
from collections import Counter

from app.sources.celery.broker import Broker, BrokerSnapshot
from app.sources.celery.celery_workers import Roster
from app.sources.celery.monitor import WorkerMonitor
from app.sources.celery.results import ENDS, UNREADABLE
from app.sources.celery.storage import CeleryStorage
from app.sources.celery.task_history import TaskHistory, TaskRecord
from app.sources.protocol import Job, JobLookup

# Time for workers to answer a new request; a worker that takes longer counts as silent.
ANSWERS_WITHIN_S = 2.0
# Between two attempts a task moves from a queue to a worker to a queue again, so one search could miss it.
SEARCHES_OF_A_RETRY = 3
CANNOT_TELL = JobLookup("cannot-tell")


class TaskLookup:
    """Looks up many ids one after the other and reuses what it learned about the workers."""

    def __init__(
        self,
        storage: CeleryStorage,
        broker: Broker,
        history: TaskHistory,
        monitor: WorkerMonitor | None,
        results_kept_s: float,
    ) -> None:
        self._storage, self._broker, self._history, self._monitor = storage, broker, history, monitor
        self._results_kept_s = results_kept_s
        self._roster: Roster | None = None
        self._around: BrokerSnapshot | None = None
        self._retrying: Counter[str] = Counter()
        self._since = time.time()

    def start(self, gone_since: float) -> None:
        """Start the lookups after a poll. Workers must be asked after `gone_since`, when the tasks were gone."""
        self._since = gone_since
        self._roster = self._around = None

    def look_up(self, task_id: str) -> JobLookup:
        """Find out what became of a task. Raises `SourceError`."""
        early = self._find_end(task_id)
        if early is not None:
            return early
        record = self._history.find_record(task_id)
        around = self._read_surroundings()
        if around is None or around[1].hides(record.job.queue if record else None):
            return CANNOT_TELL
        roster, snapshot = around
        if task_id in snapshot or roster.find_holder(task_id) is not None:
            return JobLookup("found", job=record.job if record else _build_job(task_id, roster, snapshot))
        return self._find_end(task_id) or self._resolve_vanished(task_id, record, roster)

    def _resolve_vanished(self, task_id: str, record: TaskRecord | None, roster: Roster) -> JobLookup:
        """Decide on a task that no worker or queue has and that has no final result."""
        now = time.time()
        if record is not None and (not record.keeps_result or now - record.at >= self._results_kept_s):
            return JobLookup("finished")  # its result, if it had one, may have expired
        if roster.may_be_elsewhere(task_id, record.at if record else None, now):
            return CANNOT_TELL
        state = self._storage.read_states([task_id]).get(task_id)
        if state == UNREADABLE:
            return CANNOT_TELL
        if state == "RETRY":
            self._retrying[task_id] += 1
            if self._retrying[task_id] < SEARCHES_OF_A_RETRY:
                return CANNOT_TELL
        self._retrying.pop(task_id, None)
        self._history.forget(task_id)
        return JobLookup("unknown")

    def _find_end(self, task_id: str) -> JobLookup | None:
        state = ENDS.get(self._storage.read_states([task_id]).get(task_id, ""))
        return JobLookup("finished", end_state=state) if state else None

    def _read_surroundings(self) -> tuple[Roster, BrokerSnapshot] | None:
        """Read the workers' answers and then the queues, so that a task that moves on is not missed."""
        if self._monitor is None:
            return None
        if self._roster is None:
            self._roster = self._monitor.wait_for_roster(self._since, ANSWERS_WITHIN_S)
        if self._roster is None:
            return None
        if self._around is None:
            self._around = self._storage.read_snapshot()
        return self._roster, self._around


def _build_job(task_id: str, roster: Roster, snapshot: BrokerSnapshot) -> Job:
    if task_id in snapshot.queued:
        queue, message = snapshot.queued[task_id]
        return Job(task_id, "queued", queue, message.attempt)
    if task_id in snapshot.taken:
        message = snapshot.taken[task_id].message
        return Job(task_id, message.state_at(time.time()), message.route, message.attempt)
    return Job(task_id, "running" if task_id in roster.running_tasks() else "reserved")

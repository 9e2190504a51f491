"""What became of one task that no look showed: asked of the workers, the queues and, last, its result."""

import time
from collections import Counter

from app.sources.celery.broker import Broker, Snapshot
from app.sources.celery.celery_workers import Roster
from app.sources.celery.monitor import Watch
from app.sources.celery.results import ENDS, UNREADABLE
from app.sources.celery.storage import Reads
from app.sources.celery.task_history import Step, Trail
from app.sources.protocol import Job, JobFate

# For the answers to a question that is asked now; a worker that is silent for so long is silent.
ANSWERS_WITHIN_S = 2.0
# A task between two attempts is in a queue, then with a worker, then in a queue again: one search could miss it.
SEARCHES_OF_A_RETRY = 3
CANNOT_TELL = JobFate("cannot-tell")


class Search:
    """Many ids are searched for one after the other: what one search learned of the workers serves the next."""

    def __init__(self, reads: Reads, broker: Broker, trail: Trail, watch: Watch | None, results_kept_s: float) -> None:
        self._reads, self._broker, self._trail, self._watch = reads, broker, trail, watch
        self._results_kept_s = results_kept_s
        self._roster: Roster | None = None
        self._around: Snapshot | None = None
        self._retrying: Counter[str] = Counter()
        self._since = time.time()

    def begin(self, gone_since: float) -> None:
        """After a look: what answers from here on must have been asked after the tasks in question were gone."""
        self._since = gone_since
        self._roster = self._around = None

    def fate(self, task_id: str) -> JobFate:
        """Raises `SourceError`."""
        early = self._ended(task_id)
        if early is not None:
            return early
        step = self._trail.step(task_id)
        around = self._look_around()
        if around is None or around[1].hides(step.job.queue if step else None):
            return CANNOT_TELL
        roster, snapshot = around
        if task_id in snapshot or roster.holder(task_id) is not None:
            return JobFate("found", job=step.job if step else _job(task_id, roster, snapshot))
        return self._ended(task_id) or self._of_none(task_id, step, roster)

    def _of_none(self, task_id: str, step: Step | None, roster: Roster) -> JobFate:
        """Of a task that nobody has and that has no end."""
        now = time.time()
        if step is not None and (not step.keeps_result or now - step.at >= self._results_kept_s):
            return JobFate("finished")  # its result, if there ever was one, need not be there any more: it is let go
        if roster.may_be_elsewhere(task_id, step.at if step else None, now):
            return CANNOT_TELL
        state = self._reads.states([task_id]).get(task_id)
        if state == UNREADABLE:
            return CANNOT_TELL
        if state == "RETRY":
            self._retrying[task_id] += 1
            if self._retrying[task_id] < SEARCHES_OF_A_RETRY:
                return CANNOT_TELL
        self._retrying.pop(task_id, None)
        self._trail.forget(task_id)
        return JobFate("unknown")

    def _ended(self, task_id: str) -> JobFate | None:
        state = ENDS.get(self._reads.states([task_id]).get(task_id, ""))
        return JobFate("finished", end_state=state) if state else None

    def _look_around(self) -> tuple[Roster, Snapshot] | None:
        """The workers' answers, and the queues after them: a task that moves on is met again."""
        if self._watch is None:
            return None
        if self._roster is None:
            self._roster = self._watch.after(self._since, ANSWERS_WITHIN_S)
        if self._roster is None:
            return None
        if self._around is None:
            self._around = self._reads.snapshot()
        return self._roster, self._around


def _job(task_id: str, roster: Roster, snapshot: Snapshot) -> Job:
    if task_id in snapshot.queued:
        queue, message = snapshot.queued[task_id]
        return Job(task_id, "queued", queue, message.attempt)
    if task_id in snapshot.taken:
        message = snapshot.taken[task_id].message
        return Job(task_id, message.state_at(time.time()), message.route, message.attempt)
    return Job(task_id, "running" if task_id in roster.running() else "reserved")

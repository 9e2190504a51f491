"""The history of a source's tasks between polls: tasks without a known end, and those that ended recently."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.infra.concurrency import iterate_in_slices
from app.sources.celery.broker import BrokerSnapshot
from app.sources.protocol import Job

# How long an ended task is listed as ended: the poll that first found it may not have been recorded.
ENDED_SHOWN_S = 30.0
MAX_REMEMBERED = 50_000


@dataclass(slots=True)
class TaskRecord:
    """A task's last known state, when it was seen (by this process's clock), and since when it is gone."""

    job: Job
    at: float
    keeps_result: bool
    gone_since: float | None = None


class TaskHistory:
    def __init__(self) -> None:
        self._records: dict[str, TaskRecord] = {}
        self._ended: dict[str, tuple[Job, float]] = {}
        self._tags: dict[str, str] = {}

    def find_record(self, task_id: str) -> TaskRecord | None:
        return self._records.get(task_id)

    def list_jobs(self, task_ids: Iterable[str]) -> dict[str, Job]:
        """Return the jobs of tasks that the latest poll found."""
        return {task_id: self._records[task_id].job for task_id in iterate_in_slices(task_ids)}

    def list_ended(self) -> dict[str, Job]:
        return {task_id: job for task_id, (job, _) in self._ended.items()}

    def update(self, snapshot: BrokerSnapshot, at: float) -> list[str]:
        """Record the tasks of this snapshot. Returns the ids of known tasks that are gone without a known end."""
        for queue, message in iterate_in_slices(snapshot.queued.values()):
            self._put(Job(message.id, "queued", queue, message.attempt), at, message.keeps_result)
        for taken in iterate_in_slices(snapshot.taken.values()):
            message = taken.message
            job = Job(message.id, message.state_at(at), message.route, message.attempt)
            self._put(job, at, message.keeps_result)
        self._ended = {i: kept for i, kept in self._ended.items() if at - kept[1] < ENDED_SHOWN_S and i not in snapshot}
        if snapshot.taken_cut:
            self._tags = {}
        gone, hidden = list[str](), list[str]()
        for task_id, record in iterate_in_slices(self._records.items()):
            if task_id not in snapshot:
                # If its queue exceeds the limit, the task may be there without being listed.
                (hidden if snapshot.hides(record.job.queue) else gone).append(task_id)
        for task_id in hidden[: max(0, len(hidden) - MAX_REMEMBERED)]:
            del self._records[task_id]
        for task_id in gone[: max(0, len(gone) - MAX_REMEMBERED)]:
            del self._records[task_id]
        return gone[-MAX_REMEMBERED:]

    def record_running(self, jobs: Iterable[Job], at: float) -> None:
        for job in jobs:
            record = self._records.get(job.id)
            self._put(job, at, record.keeps_result if record else True)

    def record_gone(self, task_ids: Iterable[str], at: float) -> float:
        """Record that these tasks were found nowhere. Returns since when all of them are gone."""
        since = 0.0
        for task_id in task_ids:
            record = self._records.get(task_id)
            if record is not None:
                record.gone_since = record.gone_since or at
                since = max(since, record.gone_since)
        return since or at

    def record_ends(self, ends: Mapping[str, str], at: float) -> None:
        """Record that these tasks have ended, with their final states."""
        for task_id, state in ends.items():
            record = self._records.pop(task_id, None)
            job = record.job if record else Job(task_id, state)
            self._ended[task_id] = (job._replace(state=state), at)
        for task_id in list(self._ended)[: max(0, len(self._ended) - MAX_REMEMBERED)]:
            del self._ended[task_id]

    def forget(self, task_id: str) -> None:
        """Forget a task whose fate has been reported."""
        self._records.pop(task_id, None)

    def find_unbacked(self, snapshot: BrokerSnapshot) -> tuple[str, ...]:
        """Return tasks whose message is gone from `unacked` while its index still has their tag: nothing restores them.

        `unacked` and its index always change together. An index entry alone does not name a task; that is remembered
        from when the message was still there.
        """
        tags = {taken.tag: task_id for task_id, taken in snapshot.taken.items()}
        left = {tag: task_id for tag, task_id in self._tags.items() if tag in snapshot.index and tag not in tags}
        self._tags = {**left, **tags}
        return tuple(i for i in left.values() if i not in snapshot and i not in self._ended)

    def _put(self, job: Job, at: float, keeps_result: bool) -> None:
        record = self._records.get(job.id)
        if (
            record is not None and record.job == job
        ):  # thousands in each poll: avoid new objects for the garbage collector
            record.at, record.gone_since = at, None
        else:
            self._records[job.id] = TaskRecord(job, at, keeps_result)
        self._ended.pop(job.id, None)

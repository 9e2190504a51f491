"""What a source remembers between looks: tasks that have not been seen to end, and those that just were."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.infra.concurrency import iterate_in_slices
from app.sources.celery.broker import Snapshot
from app.sources.protocol import Job

# A task that ended is shown as such for so long: the look in which that was found may not have been recorded.
ENDED_SHOWN_S = 30.0
MAX_REMEMBERED = 50_000


@dataclass(slots=True)
class Step:
    """Where a task was last, by this process's clock, and since when no look has shown it."""

    job: Job
    at: float
    keeps_result: bool
    gone_since: float | None = None


class Trail:
    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}
        self._ended: dict[str, tuple[Job, float]] = {}
        self._tags: dict[str, str] = {}

    def step(self, task_id: str) -> Step | None:
        return self._steps.get(task_id)

    def jobs(self, task_ids: Iterable[str]) -> dict[str, Job]:
        """Of tasks that the newest look showed."""
        return {task_id: self._steps[task_id].job for task_id in iterate_in_slices(task_ids)}

    def ended(self) -> dict[str, Job]:
        return {task_id: job for task_id, (job, _) in self._ended.items()}

    def follow(self, snapshot: Snapshot, at: float) -> list[str]:
        """Remember what is there now; the ids that were there once and have not been seen to end."""
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
        for task_id, step in iterate_in_slices(self._steps.items()):
            if task_id not in snapshot:
                # Where the bound cut its queue, a task may be there and not be listed.
                (hidden if snapshot.hides(step.job.queue) else gone).append(task_id)
        for task_id in hidden[: max(0, len(hidden) - MAX_REMEMBERED)]:
            del self._steps[task_id]
        for task_id in gone[: max(0, len(gone) - MAX_REMEMBERED)]:
            del self._steps[task_id]
        return gone[-MAX_REMEMBERED:]

    def saw_running(self, jobs: Iterable[Job], at: float) -> None:
        for job in jobs:
            step = self._steps.get(job.id)
            self._put(job, at, step.keeps_result if step else True)

    def gone(self, task_ids: Iterable[str], at: float) -> float:
        """These were shown nowhere; since when that is so of all of them."""
        since = 0.0
        for task_id in task_ids:
            step = self._steps.get(task_id)
            if step is not None:
                step.gone_since = step.gone_since or at
                since = max(since, step.gone_since)
        return since or at

    def end(self, ends: Mapping[str, str], at: float) -> None:
        """These have ended, in these states."""
        for task_id, state in ends.items():
            step = self._steps.pop(task_id, None)
            job = step.job if step else Job(task_id, state)
            self._ended[task_id] = (job._replace(state=state), at)
        for task_id in list(self._ended)[: max(0, len(self._ended) - MAX_REMEMBERED)]:
            del self._ended[task_id]

    def forget(self, task_id: str) -> None:
        """It is lost: whoever believed in it was told."""
        self._steps.pop(task_id, None)

    def unbacked(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Tasks whose message is gone from `unacked` while its index still has their tag: nothing would restore them.

        The messages that a worker took and those that the index knows change together. An index entry alone names
        no task; that is remembered from when the message was still there.
        """
        tags = {taken.tag: task_id for task_id, taken in snapshot.taken.items()}
        left = {tag: task_id for tag, task_id in self._tags.items() if tag in snapshot.index and tag not in tags}
        self._tags = {**left, **tags}
        return tuple(i for i in left.values() if i not in snapshot and i not in self._ended)

    def _put(self, job: Job, at: float, keeps_result: bool) -> None:
        step = self._steps.get(job.id)
        if step is not None and step.job == job:  # thousands at every look: no new ones for the collector to walk
            step.at, step.gone_since = at, None
        else:
            self._steps[job.id] = Step(job, at, keeps_result)
        self._ended.pop(job.id, None)

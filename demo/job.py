"""What a job is, and the moves it can make. Pure: nothing here touches the database."""

import secrets
from dataclasses import dataclass, replace
from typing import Literal

from demo.failures import MAX_ATTEMPTS, arguments_of, error_of, function_of, worker_of

State = Literal["queued", "running", "succeeded", "failed"]
EndState = Literal["succeeded", "failed", "deleted", "purged"]

STATES: tuple[State, ...] = ("queued", "running", "succeeded", "failed")
UNFINISHED: tuple[State, ...] = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Job:
    """A row of `job`. `due_at` is private to life.py: when it moves the job next; None: not scheduled."""

    id: str
    state: State
    queue: str
    attempt: int
    enqueued_at: str
    started_at: str | None = None
    finished_at: str | None = None
    error: str | None = None
    due_at: str | None = None

    def to_json(self) -> dict[str, object]:
        """As a list has it."""
        function = function_of(self.queue)
        error = error_of(self.error, function) if self.error else None
        if error is not None:
            error.pop("traceback", None)
        return {
            "id": self.id,
            "state": self.state,
            "queue": self.queue,
            "function": function,
            "attempt": self.attempt,
            "maxAttempts": MAX_ATTEMPTS,
            "enqueuedAt": self.enqueued_at,
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
            "worker": worker_of(self.id) if self.started_at else None,
            "error": error,
            "arguments": arguments_of(self.id),
        }

    def to_detailed_json(self) -> dict[str, object]:
        """With the traceback, which is only told of a single job."""
        return self.to_json() | {"error": error_of(self.error, function_of(self.queue)) if self.error else None}


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is remembered of a job that is gone, so that a look-up answers 410 and not 404."""

    id: str
    state: EndState
    finished_at: str

    def to_json(self) -> dict[str, object]:
        return {"id": self.id, "state": self.state, "finishedAt": self.finished_at}


def new_id() -> str:
    """Random even with --seed: a lost job's id must never come back as another job."""
    return f"job_{secrets.token_hex(6)}"


def enqueue(queue: str, now: str, job_id: str | None = None) -> Job:
    return Job(id=job_id or new_id(), state="queued", queue=queue, attempt=1, enqueued_at=now)


def move(job: Job, state: State, now: str, error: str | None = None) -> Job:
    """The job in another state, with the times that belong to it; whoever owns schedules sets due_at."""
    job = replace(job, state=state, error=None, finished_at=None, due_at=None)
    if state == "queued":
        return replace(job, enqueued_at=now, started_at=None)
    if state == "running":
        return replace(job, started_at=now)
    error = (error or "Failed without saying why") if state == "failed" else None
    return replace(job, started_at=job.started_at or now, finished_at=now, error=error)


def retry(job: Job, now: str) -> Job:
    return replace(move(job, "queued", now), attempt=job.attempt + 1)

"""What Beacon knows of a service before a check: its jobs, its open items, what it published. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from app.eventlog.event_types import ReconciliationUpdate
from app.reconciliation.flapping import NO_FLAPS, Flaps
from app.sources.protocol import Job

ItemKind = Literal["missing", "extra", "unaccounted"]
CloseHow = Literal["reappeared", "finished", "requeued", "accepted", "expired"]
# What a service last published about a job. `ended`: it failed, or its events contradict each other. Then its absence
# is explained, and its presence proves nothing.
PublishedState = Literal["queued", "started", "finished", "ended"]
ItemKey = tuple[str, ItemKind]


@dataclass(frozen=True, slots=True)
class TrackedItem:
    """A job that was declared missing, extra or unaccounted and is not closed yet."""

    job_id: str
    kind: ItemKind
    since: datetime
    last_state: str
    queue: str | None = None

    @property
    def key(self) -> ItemKey:
        return self.job_id, self.kind


@dataclass(frozen=True, slots=True)
class ItemClosing:
    item: TrackedItem
    how: CloseHow


@dataclass(frozen=True, slots=True)
class JobNotice:
    """The newest event that a service published about one job.

    `id` is the event's id, `at` is when the log took it: both are Beacon's own.
    """

    state: PublishedState
    id: int
    at: datetime
    queue: str | None = None

    @property
    def is_alive(self) -> bool:
        return self.state in ("queued", "started")


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers of one snapshot; None where the service does not say."""

    unfinished: int
    ended: int
    workers: int | None = None
    queues: int | None = None

    @property
    def jobs(self) -> int:
        return self.unfinished + self.ended


@dataclass(frozen=True, slots=True)
class Loss:
    """A drop that work cannot explain: the number of jobs `before`, and in the next answer (`after`)."""

    since: datetime
    before: int
    after: int


# The key in `cut_since` that means all queues; no queue has this name.
ALL_QUEUES = ""


@dataclass(frozen=True, slots=True)
class KnownState:
    """What Beacon knows of a service before a check.

    `jobs` are the unfinished jobs. Each was last seen at `heard_at`, the start of the snapshot that showed it, or at
    its time in `unseen`. `ended` holds jobs that a snapshot still showed as unfinished after their service had
    published their end, each with the id of that event. `notices` is what was published since the last check, up to the
    event `log_cursor`. `cut_since` holds queues whose jobs a list bound hides, each with the moment at which they were
    last listed. `unserved_since` holds queues with waiting jobs and no worker, each with the first check that found it
    so. `figures` are those of the newest snapshot, `loss` is the open one. `last_published` is the newest event. While
    the service flaps, `alerted_items` are the items that were declared since the flapping began.
    """

    jobs: Mapping[str, Job] = field(default_factory=dict)
    unseen: Mapping[str, datetime] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)
    notices: Mapping[str, JobNotice] = field(default_factory=dict)
    log_cursor: int = 0
    flaps: Flaps = NO_FLAPS
    alerted_items: frozenset[ItemKey] = frozenset()
    heard_at: datetime | None = None
    instance_id: str | None = None
    as_of: datetime | None = None
    items: Mapping[ItemKey, TrackedItem] = field(default_factory=dict)
    last_published: ReconciliationUpdate | None = None
    last_verified_at: datetime | None = None
    cut_since: Mapping[str, datetime] = field(default_factory=dict)
    unserved_since: Mapping[str, datetime] = field(default_factory=dict)
    figures: Figures | None = None
    loss: Loss | None = None

    def seen_at(self, job_id: str) -> datetime | None:
        if job_id not in self.jobs and (notice := self.notices.get(job_id)) is not None:
            return notice.at
        return self.unseen.get(job_id) or self.last_listed_at(job_id) or self.heard_at

    def last_listed_at(self, job_id: str) -> datetime | None:
        """When the job's list was last complete, if a list bound has cut it since; otherwise None."""
        if not self.cut_since or (job := self.jobs.get(job_id)) is None:
            return None
        return self.cut_since.get(job.queue or ALL_QUEUES) or self.cut_since.get(ALL_QUEUES)

    def announced_only_ids(self) -> list[str]:
        """Jobs that were published and that no snapshot has shown yet."""
        return [job_id for job_id, notice in self.notices.items() if notice.is_alive and job_id not in self.jobs]

    def job(self, job_id: str) -> Job:
        """The job as it was last seen or published."""
        seen, notice = self.jobs.get(job_id), self.notices.get(job_id)
        if notice is None or not notice.is_alive:
            return self.jobs[job_id]
        state = "running" if notice.state == "started" else seen.state if seen else "queued"
        return seen._replace(state=state) if seen else Job(job_id, state, notice.queue)

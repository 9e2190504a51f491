"""Plain values of one check: the known state, the observation, the evidence and the verdict."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal, NamedTuple, TypeVar

from app.eventlog.event_types import (
    DiscrepancyDetails,
    FindingKind,
    FindingPayload,
    LastDiscrepancyPayload,
    LastFlapping,
    ReconciliationUpdate,
    Status,
)
from app.reconciliation.flapping import NO_FLAPS, Flaps
from app.sources.protocol import FinishedVisible, Job, JobLookup, ServiceSnapshot

ItemKind = Literal["missing", "extra", "unaccounted"]
CloseHow = Literal["reappeared", "finished", "requeued", "accepted", "expired"]
# What a service last published about a job. `ended`: it failed, or its events contradict each other. Then its absence
# is explained, and its presence proves nothing.
PublishedState = Literal["queued", "started", "finished", "ended"]
ItemKey = tuple[str, ItemKind]

T = TypeVar("T")


class FindingContext(NamedTuple):
    """What a finding says besides job ids.

    `number` is the number of jobs where the ids do not give it; `note` is free text; `queues` are the affected queues;
    `since` is the start of the problem if it is known better than by the first published event.
    """

    number: int = 0
    note: str = ""
    queues: tuple[str, ...] = ()
    since: datetime | None = None


FindingContexts = Mapping[FindingKind, FindingContext]
NO_CONTEXT: FindingContexts = {}


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
class HiddenQueues:
    """Which jobs a list bound kept out of a snapshot: all of them, or those of some queues."""

    everything: bool = False
    queues: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return self.everything or bool(self.queues)

    def includes(self, queue: str | None) -> bool:
        return self.everything or (bool(self.queues) and (queue is None or queue in self.queues))


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


# How long a queue must be without a worker before that is a finding: restarting all workers is normal.
UNSERVED_AFTER = timedelta(minutes=1)
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


@dataclass(frozen=True, slots=True)
class Observation:
    """A snapshot of a service, with its start and end."""

    look: ServiceSnapshot
    began: datetime
    ended: datetime

    def find(self, job_id: str) -> tuple[Job, bool] | None:
        """The job as it was read last, and whether it had finished. A moving job may be in two lists."""
        for listing in reversed(self.look.listings):
            job = listing.jobs.get(job_id)
            if job is not None:
                return job, listing.finished
        return None

    @property
    def unfinished_complete(self) -> bool:
        return all(listing.complete for listing in self.look.listings if not listing.finished)

    @property
    def finished_complete(self) -> bool:
        return all(listing.complete for listing in self.look.listings if listing.finished)

    def hidden(self, *, finished: bool) -> HiddenQueues:
        """Whose jobs the lists of the finished (or unfinished) states do not show."""
        cut = [one for one in self.look.listings if one.finished == finished and not one.complete]
        return HiddenQueues(any(not one.cut for one in cut), frozenset().union(*(one.cut for one in cut)))


@dataclass(frozen=True, slots=True)
class CheckEvidence:
    """What else is known of the jobs that a snapshot does not show.

    `second` is the second snapshot, None if there was none. `lookups` are the answers by job id, as far as they were
    made. `explained` are jobs that commands or published events say have ended. `fresh_for` is how old the figures of a
    snapshot may be, if the source dates them. `purged`: a command has removed many jobs, whose ids may be unknown.
    `unserved_for` is how long a queue must have been without a worker before that is reported.
    """

    finished_visible: FinishedVisible = None
    second: Observation | None = None
    lookups: Mapping[str, JobLookup] = field(default_factory=dict)
    explained: frozenset[str] = frozenset()
    fresh_for: timedelta | None = None
    purged: bool = False
    unserved_for: timedelta = UNSERVED_AFTER


@dataclass(frozen=True, slots=True)
class JobDiff:
    """The known jobs after a check, as a difference: rows to write, rows to delete, and the resulting number of jobs.

    It is a difference because building the whole table at every check costs more than comparing.
    """

    before: Mapping[str, Job]
    unseen: Mapping[str, datetime]
    upserts: Sequence[Job]
    removals: Sequence[str]
    ended: Mapping[str, int]
    size: int

    @property
    def jobs(self) -> dict[str, Job]:
        """All known jobs after the check. Valid only while `before` is unmodified."""
        jobs = dict(self.before)
        self.apply_to(jobs)
        return jobs

    def apply_to(self, jobs: dict[str, Job]) -> None:
        """Update the table of known jobs in place."""
        for job_id in self.removals:
            jobs.pop(job_id, None)
        jobs.update((job.id, job) for job in self.upserts)


@dataclass(frozen=True, slots=True)
class ServiceVerdict:
    """The result of one check of a service.

    `job_diff` is None if the answer says nothing about the known jobs (stale), or if there was no answer (an
    acceptance). `changed`: an event is due. `status_changed`: the change is one of state, which is recorded for good.
    `suppressed`: it differs from what was published, and is not published because the service flaps. `figures_at` is
    the time of the figures, if the source gives one. `silent_since` is the last answer of a service that does not
    answer. `cut_since`, `unserved_since`, `figures` and `loss` are stored for the next check.
    """

    status: Status
    at: datetime
    checked_at: datetime
    latency_ms: int
    counts: Mapping[str, int]
    details: DiscrepancyDetails | None = None
    findings: tuple[FindingPayload, ...] = ()
    reason: str | None = None
    contexts: FindingContexts = field(default_factory=dict)
    last_verified_at: datetime | None = None
    last_discrepancy: LastDiscrepancyPayload | None = None
    last_flapping: LastFlapping | None = None
    counts_only: tuple[str, ...] = ()
    counts_only_queues: tuple[str, ...] = ()
    not_told: Mapping[str, str] = field(default_factory=dict)
    counts_as_of: Mapping[str, datetime] = field(default_factory=dict)
    cut_since: Mapping[str, datetime] = field(default_factory=dict)
    unserved_since: Mapping[str, datetime] = field(default_factory=dict)
    figures: Figures | None = None
    loss: Loss | None = None
    flaps: Flaps = NO_FLAPS
    job_diff: JobDiff | None = None
    opened: tuple[TrackedItem, ...] = ()
    closed: tuple[ItemClosing, ...] = ()
    changed: bool = False
    status_changed: bool = False
    suppressed: bool = False
    figures_at: datetime | None = None
    silent_since: datetime | None = None


def iter_slices(things: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(things)
    while part := list(islice(iterator, size)):
        yield part

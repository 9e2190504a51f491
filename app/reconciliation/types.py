"""Plain values of one check: the observation, the evidence and the verdict."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple, TypeVar

from app.eventlog.event_types import (
    DiscrepancyDetails,
    FindingKind,
    FindingPayload,
    LastDiscrepancyPayload,
    LastFlapping,
    Status,
)
from app.reconciliation.flapping import NO_FLAPS, Flaps
from app.reconciliation.known_state import Figures, ItemClosing, Loss, TrackedItem
from app.sources.protocol import FinishedVisible, Job, JobLookup, ServiceSnapshot

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
class HiddenQueues:
    """Which jobs a list bound kept out of a snapshot: all of them, or those of some queues."""

    everything: bool = False
    queues: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return self.everything or bool(self.queues)

    def includes(self, queue: str | None) -> bool:
        return self.everything or (bool(self.queues) and (queue is None or queue in self.queues))


# How long a queue must be without a worker before that is a finding: restarting all workers is normal.
UNSERVED_AFTER = timedelta(minutes=1)


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

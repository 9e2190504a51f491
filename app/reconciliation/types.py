"""Plain values of one reconciliation: what was known, what was heard, what to think of it."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Literal, NamedTuple, TypeVar

from app.eventlog.event_types import (
    DiscrepancyDetails,
    FindingKind,
    FindingPayload,
    LastDiscrepancyPayload,
    LastFlapping,
    ReconciliationUpdate,
    Status,
)
from app.reconciliation.flapping import NEVER, Flaps
from app.sources.protocol import FinishedVisible, Job, JobFate, Look

ItemKind = Literal["missing", "extra", "unaccounted"]
CloseHow = Literal["reappeared", "finished", "requeued", "accepted", "expired"]
# What a service published last of a job. `ended`: it failed, or events contradict each other; it is gone for a reason,
# and nothing follows from its being there.
Said = Literal["queued", "started", "finished", "ended"]
ItemKey = tuple[str, ItemKind]

# Jobs looked at in one go: with a pause between, the streams of this process feel at most some milliseconds.
SLICE = 2_000

T = TypeVar("T")
Breathe = Callable[[], None]


def no_pause() -> None:
    """What `breathe` is where nobody waits."""


class About(NamedTuple):
    """What is said of a finding besides ids: how many there are, where ids do not say it, more in words, the queues
    that it is about, and since when, where that is known better than by when it was told first."""

    number: int = 0
    note: str = ""
    queues: tuple[str, ...] = ()
    since: datetime | None = None


Abouts = Mapping[FindingKind, About]
NOTHING_ABOUT: Abouts = {}


@dataclass(frozen=True, slots=True)
class Item:
    """A job that was declared missing, extra or unaccounted and has not been closed."""

    job_id: str
    kind: ItemKind
    since: datetime
    last_state: str
    queue: str | None = None

    @property
    def key(self) -> ItemKey:
        return self.job_id, self.kind


@dataclass(frozen=True, slots=True)
class Closing:
    item: Item
    how: CloseHow


@dataclass(frozen=True, slots=True)
class Notice:
    """What a service published last of one job. `id` is the event's, `at` when the log took it: both are Beacon's."""

    said: Said
    id: int
    at: datetime
    queue: str | None = None

    @property
    def is_alive(self) -> bool:
        return self.said in ("queued", "started")


@dataclass(frozen=True, slots=True)
class Hidden:
    """Whose jobs a bound kept out of the lists of a look: everybody's, or those of some queues."""

    everything: bool = False
    queues: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return self.everything or bool(self.queues)

    def has(self, queue: str | None) -> bool:
        return self.everything or (bool(self.queues) and (queue is None or queue in self.queues))


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers of one look: jobs that have not ended, jobs that have, workers and queues; None where untold."""

    unfinished: int
    ended: int
    workers: int | None = None
    queues: int | None = None

    @property
    def jobs(self) -> int:
        return self.unfinished + self.ended


@dataclass(frozen=True, slots=True)
class Loss:
    """So many jobs were there `before`, and so many in the next answer, which no work can explain."""

    since: datetime
    before: int
    after: int


# A restart of all workers is no finding: a queue must have gone unserved for so long.
UNSERVED_FOR = timedelta(minutes=1)
# Stands in `cut_since` for all queues; no queue has such a name.
ALL_QUEUES = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What is believed of a service before a look.

    `jobs` are the unfinished ones. Each was last seen at `heard_at`, when the look that showed it began, or
    at its time in `unseen`. `ended`: jobs that a look showed unfinished after their service had published their end,
    each with the id of that event. `notices`: what was published since the last look, up to the event `log_cursor`.
    `cut_since`: queues whose jobs a bound keeps out of the lists, each with the moment at which they were last listed.
    `unserved_since`: queues in which jobs wait and that no worker serves, each with the look that first showed it so.
    `figures` are those of the newest look, `loss` is one that is open. `told` is what the newest event said; `named`,
    while the service flaps, the items it named since that began.
    """

    jobs: Mapping[str, Job] = field(default_factory=dict)
    unseen: Mapping[str, datetime] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)
    notices: Mapping[str, Notice] = field(default_factory=dict)
    log_cursor: int = 0
    flaps: Flaps = NEVER
    named: frozenset[ItemKey] = frozenset()
    heard_at: datetime | None = None
    instance_id: str | None = None
    as_of: datetime | None = None
    items: Mapping[ItemKey, Item] = field(default_factory=dict)
    told: ReconciliationUpdate | None = None
    last_verified_at: datetime | None = None
    cut_since: Mapping[str, datetime] = field(default_factory=dict)
    unserved_since: Mapping[str, datetime] = field(default_factory=dict)
    figures: Figures | None = None
    loss: Loss | None = None

    def seen_at(self, job_id: str) -> datetime | None:
        if job_id not in self.jobs and (notice := self.notices.get(job_id)) is not None:
            return notice.at
        return self.unseen.get(job_id) or self.was_cut(job_id) or self.heard_at

    def was_cut(self, job_id: str) -> datetime | None:
        """When the list that the job was last in was last whole, where a bound has cut it since."""
        if not self.cut_since or (job := self.jobs.get(job_id)) is None:
            return None
        return self.cut_since.get(job.queue or ALL_QUEUES) or self.cut_since.get(ALL_QUEUES)

    def heralded(self) -> list[str]:
        """Jobs that were published and that no look has shown yet."""
        return [job_id for job_id, notice in self.notices.items() if notice.is_alive and job_id not in self.jobs]

    def job(self, job_id: str) -> Job:
        """The job as it was seen or published last."""
        seen, notice = self.jobs.get(job_id), self.notices.get(job_id)
        if notice is None or not notice.is_alive:
            return self.jobs[job_id]
        state = "running" if notice.said == "started" else seen.state if seen else "queued"
        return seen._replace(state=state) if seen else Job(job_id, state, notice.queue)


@dataclass(frozen=True, slots=True)
class Heard:
    """A look, and when it began and ended."""

    look: Look
    began: datetime
    ended: datetime

    def find(self, job_id: str) -> tuple[Job, bool] | None:
        """The job as it was read last, and whether it had finished: a moving job may be in two lists."""
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

    def hidden(self, *, finished: bool) -> Hidden:
        """Whose jobs the lists of these states do not show."""
        cut = [one for one in self.look.listings if one.finished == finished and not one.complete]
        return Hidden(any(not one.cut for one in cut), frozenset().union(*(one.cut for one in cut)))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What else is known of the jobs that a look did not show.

    `second`: the second look, None where it was not possible; `fates`: look-ups by id, as far as they were
    made; `explained`: jobs that commands or published events say have ended. `fresh_for`: how old the figures of a look
    may be, where the source dates them. `purged`: a command has removed many, which need not be known one by one.
    `unserved_for`: how long a queue must have been without a worker before that is said.
    """

    finished_visible: FinishedVisible = None
    second: Heard | None = None
    fates: Mapping[str, JobFate] = field(default_factory=dict)
    explained: frozenset[str] = frozenset()
    fresh_for: timedelta | None = None
    purged: bool = False
    unserved_for: timedelta = UNSERVED_FOR


@dataclass(frozen=True, slots=True)
class Belief:
    """What a look makes of the jobs that were known: the rows that make the difference, and how many jobs it leaves.

    The difference only, because to make all of them anew at every look costs more than to compare them.
    """

    before: Mapping[str, Job]
    unseen: Mapping[str, datetime]
    put: Sequence[Job]
    gone: Sequence[str]
    ended: Mapping[str, int]
    size: int

    @property
    def jobs(self) -> dict[str, Job]:
        """All of them, as long as nothing was done to the jobs from before."""
        jobs = dict(self.before)
        self.onto(jobs)
        return jobs

    def onto(self, jobs: dict[str, Job], breathe: Breathe = no_pause) -> None:
        """Make what was known what is known now."""
        for ids in slices(self.gone):
            for job_id in ids:
                jobs.pop(job_id, None)
            breathe()
        for part in slices(self.put):
            jobs.update((job.id, job) for job in part)
            breathe()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to think of a service.

    `belief` is None where nothing that was heard is believed (stale), or nothing was (an acceptance).
    `changed`: an event is due; `turned`: the change is one of state, to be kept for ever. `hushed`: it differs from
    what was told, and is kept to ourselves because the service flaps. `figures_at`: of when the figures are, where the
    source says so. `silent_since`: when a service that does not answer gave its last answer. `cut_since`,
    `unserved_since`, `figures` and `loss` are what is known of them from now on.
    """

    status: Status
    at: datetime
    checked_at: datetime
    latency_ms: int
    counts: Mapping[str, int]
    details: DiscrepancyDetails | None = None
    findings: tuple[FindingPayload, ...] = ()
    reason: str | None = None
    about: Abouts = field(default_factory=dict)
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
    flaps: Flaps = NEVER
    belief: Belief | None = None
    opened: tuple[Item, ...] = ()
    closed: tuple[Closing, ...] = ()
    changed: bool = False
    turned: bool = False
    hushed: bool = False
    figures_at: datetime | None = None
    silent_since: datetime | None = None


def slices(things: Iterable[T], size: int = SLICE) -> Iterator[list[T]]:
    iterator = iter(things)
    while part := list(islice(iterator, size)):
        yield part


def in_order(things: Iterable[T], key: Callable[[T], Any], breathe: Breathe = no_pause) -> list[T]:
    """Sorted; a hundred thousand at once would take 60 ms."""
    parts = [sorted(part, key=key) for part in _breathing(slices(things), breathe)]
    if len(parts) < 2:
        return parts[0] if parts else []
    return [thing for part in _breathing(slices(heapq.merge(*parts, key=key)), breathe) for thing in part]


def _breathing(parts: Iterable[T], breathe: Breathe) -> Iterator[T]:
    for part in parts:
        yield part
        breathe()

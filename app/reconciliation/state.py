"""Plain values of one reconciliation: what was known, what was heard, what to think of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Literal, TypeVar

from app.eventlog.payloads import DiscrepancyDetails, Finding, LastDiscrepancy, ReconciliationUpdate, Status
from app.sources.base import FinishedVisible, Job, JobFate, Look

ItemKind = Literal["missing", "unaccounted"]
CloseHow = Literal["reappeared", "finished", "accepted", "expired"]
ItemKey = tuple[str, ItemKind]

# Jobs looked at in one go: with a pause between, the streams of this process feel at most some milliseconds.
SLICE = 2_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item:
    """A job that was declared missing or unaccounted and has not been closed."""

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
class Known:
    """What is believed of a service before a look.

    `jobs` are the unfinished ones. Each was last seen at `heard_at`, when the look that showed it began, or
    at its time in `unseen`. `told` is what the newest event said.
    """

    jobs: Mapping[str, Job] = field(default_factory=dict)
    unseen: Mapping[str, datetime] = field(default_factory=dict)
    heard_at: datetime | None = None
    instance_id: str | None = None
    as_of: datetime | None = None
    items: Mapping[ItemKey, Item] = field(default_factory=dict)
    told: ReconciliationUpdate | None = None
    last_verified_at: datetime | None = None

    def seen_at(self, job_id: str) -> datetime | None:
        return self.unseen.get(job_id) or self.heard_at


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


@dataclass(frozen=True, slots=True)
class Evidence:
    """What else is known of the jobs that a look did not show.

    `second`: the second look, None where it was not possible; `fates`: look-ups by id, as far as they were
    made; `explained`: jobs that commands or published events say have ended.
    """

    finished_visible: FinishedVisible = None
    second: Heard | None = None
    fates: Mapping[str, JobFate] = field(default_factory=dict)
    explained: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Belief:
    """The known jobs after a look, and the rows that make the difference."""

    jobs: Mapping[str, Job]
    unseen: Mapping[str, datetime]
    put: tuple[Job, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to think of a service.

    `belief` is None where nothing that was heard is believed (stale), or nothing was (an acceptance).
    `changed`: an event is due; `turned`: the change is one of state, to be kept for ever.
    """

    status: Status
    at: datetime
    checked_at: datetime
    latency_ms: int
    counts: Mapping[str, int]
    details: DiscrepancyDetails | None = None
    findings: tuple[Finding, ...] = ()
    reason: str | None = None
    last_verified_at: datetime | None = None
    last_discrepancy: LastDiscrepancy | None = None
    belief: Belief | None = None
    opened: tuple[Item, ...] = ()
    closed: tuple[Closing, ...] = ()
    changed: bool = False
    turned: bool = False


def slices(things: Iterable[T], size: int = SLICE) -> Iterator[list[T]]:
    iterator = iter(things)
    while part := list(islice(iterator, size)):
        yield part

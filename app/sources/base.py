"""What every kind of source answers, whatever it speaks: one look, one job's fate, what it can do.

Adding a kind is one file with a class that fits `Source`. A source never writes to its service while
it looks, raises nothing but `SourceError`, and says so where it does not know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

Action = Literal["retry-job", "delete-job", "purge-queue", "restart-service"]
ACTIONS: tuple[Action, ...] = ("retry-job", "delete-job", "purge-queue", "restart-service")

# For how long a job that has finished can still be seen: seconds in the lists, by asking for its id, or not at all.
FinishedVisible = float | Literal["lookup"] | None

# Longer ids, or ids with control characters, are garbage: they would break pages, frames and look-ups.
MAX_JOB_ID_CHARS = 200


class SourceError(Exception):
    """The source could not be heard. `reason` goes onto the screen, after "the service …"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Job(NamedTuple):
    """One job. A tuple, because a hundred thousand of them are compared at every poll."""

    id: str
    state: str
    queue: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The jobs of one state. `complete` is False where a bound cut the list: then only its count is known."""

    state: str
    finished: bool
    jobs: Mapping[str, Job]
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something wrong that the source itself can see, such as an id in a queue whose job is gone."""

    kind: Literal["dangling", "duplicate", "orphaned"]
    job_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """One answer of a service.

    `listings` are in the order in which jobs flow, which is the order in which they were read: unfinished
    states first, so that a job that moves on meanwhile is met again further down. `one_revision` says that
    counts and lists belong to the same moment; otherwise they must not be compared with each other.
    """

    counts: Mapping[str, int]
    listings: tuple[Listing, ...]
    latency_ms: int
    instance_id: str | None = None
    as_of: datetime | None = None
    revision: str | None = None
    one_revision: bool = False
    oddities: tuple[Oddity, ...] = ()


@dataclass(frozen=True, slots=True)
class JobFate:
    """What a service says of one id. `job` is set for `found`, `end_state` for `finished`.

    `unknown` is a strong word: the service would have said `finished` of a job that ended. A source that
    forgets finished jobs answers `cannot-tell`.
    """

    kind: Literal["found", "finished", "unknown", "cannot-tell"]
    job: Job | None = None
    end_state: str | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a source can do. `refusals` says why it cannot do an action; any other action it can."""

    finished_visible_for_s: FinishedVisible
    refusals: Mapping[Action, str] = field(default_factory=dict)

    def why_not(self, action: Action) -> str | None:
        return self.refusals.get(action)


class Source(Protocol):
    """One watched service as the poller's thread uses it: one caller at a time."""

    @property
    def capabilities(self) -> Capabilities: ...

    def look(self) -> Look:
        """Everything, read in flow order, within a bound of time. Raises `SourceError`."""
        ...

    def look_up(self, job_id: str) -> JobFate:
        """What became of one job. Never raises: no answer is `cannot-tell`."""
        ...

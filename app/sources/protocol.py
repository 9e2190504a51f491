"""What every kind of source answers, whatever it speaks: one look, one job's fate, what it can do, and doing it.

Adding a kind is one file with a class that fits `Source` and a `KIND` that describes it (docs/sources.md). A source
never writes to its service while it looks, raises nothing but `SourceError`, and says so where it does not know.
Only `act` changes anything, and it does so at most once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, NoReturn, Protocol

from pydantic import BaseModel, ConfigDict

from app.sources.host_rules import Reach

Action = Literal["retry-job", "delete-job", "purge-queue", "restart-service"]
ACTIONS: tuple[Action, ...] = ("retry-job", "delete-job", "purge-queue", "restart-service")
# What a person may look at beyond counts and ids, where the source has it.
View = Literal["workers", "stuck", "detail"]
VIEWS: tuple[View, ...] = ("workers", "stuck", "detail")

# For how long a job that has finished can still be seen: seconds in the lists, by asking for its id, or not at all.
FinishedVisible = float | Literal["lookup"] | None

# What has no such id is left out and counted: it would break pages, frames, look-ups, or an index of PostgreSQL, whose
# entries (a service's id and a job's) end at 2,704 bytes.
MAX_JOB_ID_CHARS = 1_000
MAX_JOB_ID_BYTES = 2_000


class SourceError(Exception):
    """The source could not be heard. `reason` goes onto the screen, after "the service …"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotSent(SourceError):
    """Certainly nothing was asked: there was no connection, or it was too late before the first byte."""


class CannotTell(SourceError):
    """It was heard, and does not tell this of its jobs however often it is asked."""


class Unsure(SourceError):
    """It was asked and not answered: done or not, only `settle` may tell."""


class Job(NamedTuple):
    """One job. A tuple, because a hundred thousand of them are compared at every poll.

    `kept_s`: for how long it can still be seen once it has ended, where the job itself says so.
    """

    id: str
    state: str
    queue: str | None = None
    attempt: int | None = None
    kept_s: float | None = None


class LeftOut(NamedTuple):
    """Entries of a list that are no jobs Beacon can take. `first`: which is the first of them, and what is wrong."""

    number: int = 0
    first: str = ""


NOTHING_LEFT_OUT = LeftOut()


@dataclass(frozen=True, slots=True)
class Listing:
    """The jobs of one state. `complete` is False where a bound cut the list: then only its count is known.

    `cut`: the queues whose jobs are not listed, where the jobs of all others are. `left_out` entries are counted by the
    service, and are not among the jobs.
    """

    state: str
    finished: bool
    jobs: Mapping[str, Job]
    complete: bool = True
    left_out: LeftOut = NOTHING_LEFT_OUT
    cut: frozenset[str] = frozenset()

    def hides(self, queue: str | None) -> bool:
        """Whether jobs of this queue, or of any, may be in this state and not be listed."""
        return not self.complete and (not self.cut or queue is None or queue in self.cut)


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something wrong that the source itself can see, such as an id in a queue whose job is gone.

    `note` says more of it where that is known: since when, or why.
    """

    kind: Literal["dangling", "duplicate", "orphaned", "overdue"]
    job_ids: tuple[str, ...]
    note: str = ""


class Worker(NamedTuple):
    """A process of the service that takes jobs. `seen_at`: its newest heartbeat; None where it has none.

    `silent`: it should have been heard of again by now. `note`: how long it may take until it is known that it is gone.
    """

    id: str
    state: Literal["busy", "idle", "suspended", "silent", "dead"]
    queues: tuple[str, ...] = ()
    job_id: str | None = None
    seen_at: datetime | None = None
    note: str = ""


class UnservedQueue(NamedTuple):
    """A queue in which jobs wait, and which no living worker takes jobs from. `why` says more where that is known."""

    name: str
    waiting: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """One answer of a service.

    `listings` are in the order in which jobs flow, which is the order in which they were read: unfinished
    states first, so that a job that moves on meanwhile is met again further down. `one_revision` says that
    counts and lists belong to the same moment; otherwise they must not be compared with each other.
    `workers` is None where the source cannot tell; no workers at all are an empty tuple. `health`: the service's own
    word for how it is. `queues`: how many there are, where the service keeps those that are empty. `not_told`: states
    whose number nobody knows, with the reason; `counts_as_of`: those whose number is older than the look.
    `unserved` is None where the source cannot tell, now or ever, which queues workers serve: that is no claim that
    nobody serves them.
    """

    counts: Mapping[str, int]
    listings: tuple[Listing, ...]
    latency_ms: int
    instance_id: str | None = None
    as_of: datetime | None = None
    revision: str | None = None
    one_revision: bool = False
    oddities: tuple[Oddity, ...] = ()
    workers: tuple[Worker, ...] | None = None
    health: str | None = None
    queues: int | None = None
    not_told: Mapping[str, str] = field(default_factory=dict)
    counts_as_of: Mapping[str, datetime] = field(default_factory=dict)
    unserved: tuple[UnservedQueue, ...] | None = None


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
class JobDetail:
    """What a service tells of one job to a person who asks. Never its arguments: they may hold anything."""

    job: Job
    description: str | None = None
    enqueued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    worker: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StuckJob:
    """A job that its service, or Beacon by its workers, takes for stuck, and why."""

    job: Job
    reason: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Jobs of one state. `older_than`: in that state since before then."""

    state: str
    queue: str | None = None
    older_than: datetime | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What a filter finds at `as_of`: how many in all, and the ids of the first of them, as many as were asked for."""

    as_of: datetime
    total: int
    job_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to do. `target`: the id of a job, the name of a queue, or that of the service for a restart.

    `key` is the same whenever the same thing is asked again: a service that remembers keys does it once. After
    `not_after` nothing may be asked any more. `at_most`: how many jobs a purge may find; with more it is refused.
    `instance_id`: the run of the service (as in `Look`) that a restart is to end, where that is known.
    """

    action: Action
    target: str
    key: str
    queue: str | None = None
    not_after: datetime | None = None
    at_most: int | None = None
    instance_id: str | None = None

    def seconds_left(self, at_most: float) -> float:
        """For how long an answer may be waited for. Raises `NotSent` once it is too late to ask."""
        left = at_most if self.not_after is None else (self.not_after - datetime.now(UTC)).total_seconds()
        if left <= 0:
            raise NotSent("was not asked: it was too late")
        return min(left, at_most)


@dataclass(frozen=True, slots=True)
class Done:
    """The service's answer. `refused`: nothing was changed, for the reason in `detail`; `absent`: there is no such job.

    `detail` is a sentence for people. `effect` is what changed: `state` of a job, `purged` (a number), `jobIds` that a
    purge removed, `instanceId` after a restart, `workers` that were told to end.
    """

    outcome: Literal["done", "refused", "absent"]
    detail: str
    effect: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a source can do. `refusals` says why it cannot do an action or a view; whatever it does not name it can.

    `dates_figures`: its `as_of` is the moment of its figures, which may be long ago; otherwise it is only its clock.
    """

    finished_visible_for_s: FinishedVisible
    refusals: Mapping[Action | View, str] = field(default_factory=dict)
    dates_figures: bool = False

    def why_not(self, what: Action | View) -> str | None:
        return self.refusals.get(what)


class Source(Protocol):
    """One watched service. The poller's thread uses one, a request that asks for details makes its own."""

    @property
    def capabilities(self) -> Capabilities: ...

    def look(self) -> Look:
        """Everything, read in flow order, within a bound of time. Raises `SourceError`."""
        ...

    def look_up(self, job_id: str) -> JobFate:
        """What became of one job. Never raises: no answer is `cannot-tell`."""
        ...

    def detail(self, job_id: str) -> JobDetail | None:
        """One job for a person; None where the service does not know it. Raises `SourceError`."""
        ...

    def stuck(self) -> Sequence[StuckJob]:
        """Jobs that do not move though they should. Raises `SourceError`."""
        ...

    def act(self, order: Order) -> Done:
        """Ask for it once, within a bound of time. Raises `NotSent` or `Unsure`; tries nothing a second time."""
        ...

    def settle(self, order: Order, asked_at: datetime) -> Done | None:
        """By reading alone: what became of an order that `act` was unsure of, or that nobody saw answered.

        None where that cannot be told, or not yet. Raises `SourceError`.
        """
        ...

    def shows(self, order: Order, asked_at: datetime) -> bool:
        """Whether an order that was done can be seen in what it changed; that somebody said so is not enough.

        False where that cannot be told, or not yet. Raises `SourceError`.
        """
        ...

    def select(self, wanted: Filter, limit: int) -> Selection:
        """The jobs of a filter, counted, and the ids of up to `limit` of them.

        Raises `SourceError`, and `CannotTell` where it does not know since when its jobs are in that state.
        """
        ...

    def close(self) -> None:
        """Give connections back, after the last use. Not called while anything else of it runs."""
        ...


def fault_of_job_id(value: object) -> str:
    """Why Beacon cannot take this as a job's id, to follow "entry 3: "; empty where it can."""
    if not isinstance(value, str) or not value:
        return "it has no id"
    if len(value) > MAX_JOB_ID_CHARS:
        return f"its id has more than {MAX_JOB_ID_CHARS:,} characters"
    if not value.isprintable():
        return "its id has a control character"
    if not value.isascii() and len(value.encode()) > MAX_JOB_ID_BYTES:
        return f"its id has more than {MAX_JOB_ID_BYTES:,} bytes"
    return ""


class TakesNoOrders:
    """For sources that refuse every action: what they have to say where they are asked nevertheless."""

    def act(self, order: Order) -> Done:
        return Done("refused", f"This source takes no {order.action}.")

    def settle(self, order: Order, asked_at: datetime) -> Done | None:  # noqa: ARG002 -- it was never done
        return Done("refused", f"This source takes no {order.action}.")

    def shows(self, order: Order, asked_at: datetime) -> bool:  # noqa: ARG002 -- there is nothing to see
        return False

    def select(self, wanted: Filter, limit: int) -> NoReturn:  # noqa: ARG002 -- there is nothing to choose for
        raise SourceError("takes no commands, so its jobs cannot be chosen for one")


class Options(BaseModel):
    """What a kind can be told of a service besides id, name and address; a kind's own fields extend it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Address(NamedTuple):
    """Where a service is, as pages may show it, and the password that none of them ever does.

    `reach` says which addresses may be connected to: whoever connects asks it (`Reach.addresses`).
    """

    url: str
    password: str | None = None
    reach: Reach = Reach()


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of source, for configuration and for people who choose one.

    `about` is one sentence; `url_example` stands in forms and errors. `check_url(url)` gives the address apart from its
    password, or raises `ValueError` with what was expected. `build(address, options, job_list_bound)` connects to
    nothing yet. `health_path` comes behind the address where a service has a health endpoint.
    """

    name: str
    about: str
    url_example: str
    check_url: Callable[[str], Address]
    options: type[Options]
    build: Callable[[Address, Any, int], Source]
    health_path: str = ""

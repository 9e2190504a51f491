"""The protocol of a source: read all jobs, look up one job, state its capabilities, execute commands.

To add a kind, write one file with a class that implements `Source` and a `KIND` that describes it (docs/sources.md).
Reading never writes to the service. A source raises only `SourceError`, and it says so when it does not know something.
Only `execute` changes anything, and it does so at most once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, NoReturn, Protocol

from pydantic import BaseModel, ConfigDict

from app.sources.host_rules import Reach

Action = Literal["retry-job", "delete-job", "purge-queue", "restart-service"]
ACTIONS: tuple[Action, ...] = ("retry-job", "delete-job", "purge-queue", "restart-service")
# What people can view besides counts and ids, if the source supports it.
View = Literal["workers", "stuck", "detail"]
VIEWS: tuple[View, ...] = ("workers", "stuck", "detail")

# How long a finished job stays visible: for some seconds in the lists, only by looking up its id, or not at all.
FinishedVisible = float | Literal["lookup"] | None

# Jobs with longer ids are left out and counted. They would break pages, frames, lookups, or a PostgreSQL index, whose
# entries (service id and job id) are limited to 2,704 bytes.
MAX_JOB_ID_CHARS = 1_000
MAX_JOB_ID_BYTES = 2_000


class SourceError(Exception):
    """The source could not be read. Pages show `reason` after "the service …"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotSent(SourceError):
    """Nothing was sent: there was no connection, or the deadline passed before the first byte."""


class Unsupported(SourceError):
    """The service answers, but does not provide this information about its jobs. Retrying does not help."""


class OutcomeUnknown(SourceError):
    """A command was sent and got no answer. Only `resolve_outcome` can find out whether it was executed."""


class Job(NamedTuple):
    """One job. A tuple, because each poll compares a hundred thousand of them.

    `kept_s`: how long the job stays visible after it has ended, if the job itself says so.
    """

    id: str
    state: str
    queue: str | None = None
    attempt: int | None = None
    kept_s: float | None = None


class LeftOut(NamedTuple):
    """List entries that Beacon cannot accept as jobs. `first` names the first of them and says what is wrong."""

    number: int = 0
    first: str = ""

    def merge(self, more: "LeftOut") -> "LeftOut":
        return LeftOut(self.number + more.number, self.first or more.first)


NOTHING_LEFT_OUT = LeftOut()


@dataclass(frozen=True, slots=True)
class Listing:
    """The jobs of one state. `complete` is False if a limit cut the list; then only its count is known.

    `cut`: the queues whose jobs are not listed while those of all other queues are. The service counts the `left_out`
    entries; they are not in `jobs`.
    """

    state: str
    finished: bool
    jobs: Mapping[str, Job]
    complete: bool = True
    left_out: LeftOut = NOTHING_LEFT_OUT
    cut: frozenset[str] = frozenset()

    def hides(self, queue: str | None) -> bool:
        """True if jobs of this queue (of any queue for None) may be in this state without being listed."""
        return not self.complete and (not self.cut or queue is None or queue in self.cut)


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An inconsistency that the source itself detects, such as an id in a queue whose job is gone.

    `note` adds details if they are known, such as since when or why.
    """

    kind: Literal["dangling", "duplicate", "orphaned", "overdue"]
    job_ids: tuple[str, ...]
    note: str = ""


class Worker(NamedTuple):
    """A worker process of the service. `seen_at`: its latest heartbeat; None if there is none.

    State `silent`: its next heartbeat is overdue. `note`: how long it can take until its death is detected.
    """

    id: str
    state: Literal["busy", "idle", "suspended", "silent", "dead"]
    queues: tuple[str, ...] = ()
    job_id: str | None = None
    seen_at: datetime | None = None
    note: str = ""


class UnservedQueue(NamedTuple):
    """A queue with waiting jobs that no live worker serves. `why` gives the reason if it is known."""

    name: str
    waiting: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class ServiceSnapshot:
    """Everything that one poll read from a service.

    `listings` are in flow order, which is also the order in which they were read: unfinished states first, so that a
    job that changes state during the poll appears again further down. `one_revision`: counts and lists belong to the
    same moment; if it is False they must not be compared with each other. `workers` is None if the source does not
    know them; an empty tuple means that there are none. `health`: the service's own description of its health.
    `queues`: the number of queues, if the service also keeps empty ones. `not_told`: states whose count is unknown,
    with the reason. `counts_as_of`: states whose count is older than this poll. `unserved` is None if the source does
    not know which queues workers serve; that does not mean that nobody serves them.
    """

    counts: Mapping[str, int]
    listings: tuple[Listing, ...]
    latency_ms: int
    instance_id: str | None = None
    as_of: datetime | None = None
    revision: str | None = None
    one_revision: bool = False
    anomalies: tuple[Anomaly, ...] = ()
    workers: tuple[Worker, ...] | None = None
    health: str | None = None
    queues: int | None = None
    not_told: Mapping[str, str] = field(default_factory=dict)
    counts_as_of: Mapping[str, datetime] = field(default_factory=dict)
    unserved: tuple[UnservedQueue, ...] | None = None


@dataclass(frozen=True, slots=True)
class JobLookup:
    """The result of looking up one job id. `job` is set for `found`, `end_state` for `finished`.

    `unknown` is a strong claim: the service would have reported `finished` for a job that ended. A source that forgets
    finished jobs returns `cannot-tell`.
    """

    kind: Literal["found", "finished", "unknown", "cannot-tell"]
    job: Job | None = None
    end_state: str | None = None


@dataclass(frozen=True, slots=True)
class JobDetail:
    """The details of one job for people. Never its arguments, which may contain secrets."""

    job: Job
    description: str | None = None
    enqueued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    worker: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StuckJob:
    """A job that its service considers stuck, or Beacon judging by the workers, with the reason."""

    job: Job
    reason: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Selects jobs of one state. `older_than`: only jobs that have been in that state since before this time."""

    state: str
    queue: str | None = None
    older_than: datetime | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The jobs that match a filter at `as_of`: the total number and the first ids, up to the requested limit."""

    as_of: datetime
    total: int
    job_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation to execute. `target`: a job id, a queue name, or the service's name for a restart.

    `key` is an idempotency key: it stays the same when the operation is sent again, so that a service that remembers
    keys executes it once. Nothing may be sent after `not_after`. `at_most`: the highest number of jobs that a purge may
    find; with more, it is refused. `instance_id`: the service instance (as in `ServiceSnapshot`) that a restart ends,
    if known.
    """

    action: Action
    target: str
    key: str
    queue: str | None = None
    not_after: datetime | None = None
    at_most: int | None = None
    instance_id: str | None = None

    def seconds_left(self, at_most: float) -> float:
        """Return how long to wait for an answer. Raises `NotSent` if the deadline has passed."""
        left = at_most if self.not_after is None else (self.not_after - datetime.now(UTC)).total_seconds()
        if left <= 0:
            raise NotSent("was not contacted: the deadline had passed")
        return min(left, at_most)


@dataclass(frozen=True, slots=True)
class OperationResult:
    """The result of an operation. `refused`: nothing changed, `detail` says why; `absent`: there is no such job.

    `detail` is a sentence for people. `effect` is what changed: the job's `state`, `purged` (a number), the `jobIds`
    that a purge removed, the `instanceId` after a restart, the `workers` that were told to shut down.
    """

    outcome: Literal["done", "refused", "absent"]
    detail: str
    effect: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a source supports. `refusals` says why an action or a view is not supported; all others are.

    `dates_figures`: the source's `as_of` is when its figures were taken, which may be long ago. If False, `as_of` is
    only the service's clock.
    """

    finished_visible_for_s: FinishedVisible
    refusals: Mapping[Action | View, str] = field(default_factory=dict)
    dates_figures: bool = False

    def why_not(self, what: Action | View) -> str | None:
        return self.refusals.get(what)


class Commands(Protocol):
    """What can be done at a service, and whether it was done."""

    def execute(self, operation: Operation) -> OperationResult:
        """Execute the operation once within a time limit. Never retries. Raises `NotSent` or `OutcomeUnknown`."""
        ...

    def resolve_outcome(self, operation: Operation, asked_at: datetime) -> OperationResult | None:
        """Find out, only by reading, what became of an operation whose answer was lost or never seen.

        Returns None if that is unknown, or not known yet. Raises `SourceError`.
        """
        ...

    def verify_effect(self, operation: Operation, asked_at: datetime) -> bool:
        """True if the effect of an executed operation is visible in the service's data; its answer is not enough.

        False if that is unknown, or not visible yet. Raises `SourceError`.
        """
        ...

    def select(self, wanted: JobFilter, limit: int) -> Selection:
        """Count the jobs that match a filter and return up to `limit` of their ids.

        Raises `SourceError`, and `Unsupported` if the source does not know how long jobs have been in that state.
        """
        ...


class Source(Commands, Protocol):
    """One watched service. The poller's thread uses one instance; a request for details creates its own."""

    @property
    def capabilities(self) -> Capabilities: ...

    def read_snapshot(self) -> ServiceSnapshot:
        """Read everything in flow order within a time limit. Raises `SourceError`."""
        ...

    def look_up(self, job_id: str) -> JobLookup:
        """Find out what became of one job. Never raises: without an answer, the result is `cannot-tell`."""
        ...

    def detail(self, job_id: str) -> JobDetail | None:
        """Return the details of one job, or None if the service does not know it. Raises `SourceError`."""
        ...

    def stuck(self) -> Sequence[StuckJob]:
        """Return jobs that should make progress and do not. Raises `SourceError`."""
        ...

    def close(self) -> None:
        """Release connections after the last use. Never called while another method is running."""
        ...


def find_job_id_fault(value: object) -> str:
    """Return why Beacon cannot accept this as a job id, as text after "entry 3: ". Empty if it can."""
    if not isinstance(value, str) or not value:
        return "it has no id"
    if len(value) > MAX_JOB_ID_CHARS:
        return f"its id has more than {MAX_JOB_ID_CHARS:,} characters"
    if not value.isprintable():
        return "its id has a control character"
    if not value.isascii() and len(value.encode()) > MAX_JOB_ID_BYTES:
        return f"its id has more than {MAX_JOB_ID_BYTES:,} bytes"
    return ""


class ReadOnlySource:
    """Base class of sources that support no actions: refuses every operation."""

    def execute(self, operation: Operation) -> OperationResult:
        return OperationResult("refused", f"This source does not support {operation.action}.")

    def resolve_outcome(self, operation: Operation, asked_at: datetime) -> OperationResult | None:  # noqa: ARG002 -- it was never executed
        return OperationResult("refused", f"This source does not support {operation.action}.")

    def verify_effect(self, operation: Operation, asked_at: datetime) -> bool:  # noqa: ARG002 -- it was never executed
        return False

    def select(self, wanted: JobFilter, limit: int) -> NoReturn:  # noqa: ARG002 -- no command needs a selection
        raise SourceError("accepts no commands, so its jobs cannot be selected for one")


class CommandedSource:
    """Base class of sources whose commands are an object of their own; refuses what the source does not support."""

    def __init__(self, capabilities: Capabilities, commands: Commands) -> None:
        self.capabilities, self._commands = capabilities, commands

    def execute(self, operation: Operation) -> OperationResult:
        why_not = self.capabilities.why_not(operation.action)
        return OperationResult("refused", why_not) if why_not else self._commands.execute(operation)

    def resolve_outcome(self, operation: Operation, asked_at: datetime) -> OperationResult | None:
        return self._commands.resolve_outcome(operation, asked_at)

    def verify_effect(self, operation: Operation, asked_at: datetime) -> bool:
        return self._commands.verify_effect(operation, asked_at)

    def select(self, wanted: JobFilter, limit: int) -> Selection:
        return self._commands.select(wanted, limit)


class Options(BaseModel):
    """The settings of a service besides id, name and address. Each kind subclasses this with its own fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServiceAddress(NamedTuple):
    """A service's address as pages may show it, and its password, which no page ever shows.

    `reach` says which addresses may be connected to. Code that opens connections must check it (`Reach.resolve`).
    """

    url: str
    password: str | None = None
    reach: Reach = Reach()


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of source, for configuration and for forms.

    `about` is one sentence; forms and errors show `url_example`. `check_url(url)` splits the password from the address,
    or raises `ValueError` with what was expected. `build(address, options, job_list_bound)` does not connect yet.
    `health_path` is the path of the service's health endpoint, if it has one. `advice`: what a person can do about a
    finding, by the finding's kind, where this is not the same for every kind of source.
    """

    name: str
    about: str
    url_example: str
    check_url: Callable[[str], ServiceAddress]
    options: type[Options]
    build: Callable[[ServiceAddress, Any, int], Source]
    health_path: str = ""
    advice: Mapping[str, str] = field(default_factory=dict)

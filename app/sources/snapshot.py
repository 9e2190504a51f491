"""What a source reports about jobs, queues and workers: the snapshot of a poll, and single jobs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from app.infra.clock import display_text
from app.sources.tracebacks import JobError

# Jobs with longer ids are left out and counted. They would break pages, frames, lookups, or a PostgreSQL index, whose
# entries (service id and job id) are limited to 2,704 bytes.
MAX_JOB_ID_CHARS = 1_000
MAX_JOB_ID_BYTES = 2_000
# A job in one of these states can be retried; in any other it is waiting, running or done.
FAILED_STATES = frozenset(
    {"failed", "failure", "error", "errored", "dead", "aborted", "stopped", "rejected", "timed_out"}
)
# Limits for what is read of a single job: the end of its traceback, and the jobs it depends on or that depend on it.
MAX_TRACEBACK_BYTES = 256 * 1024
MAX_RELATED_JOBS = 100
# Larger numbers lose digits in JSON clients, and a database rejects still larger ones.
MAX_ATTEMPT = 2**53
# What no page can show and PostgreSQL does not store: control characters and unpaired surrogates.
_UNSOUND = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


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

    `note` adds details if they are known, such as since when or why. `number`: how many jobs there are, if `job_ids`
    does not hold all of them.
    """

    kind: Literal["dangling", "duplicate", "orphaned", "overdue"]
    job_ids: tuple[str, ...]
    note: str = ""
    number: int = 0

    @classmethod
    def overdue(cls, job_ids: Iterable[str], oldest: float, why: str, number: int = 0) -> "Anomaly":
        """Jobs that should have started. `oldest`: the first such time, in seconds; `why`: the reason, if known."""
        due = f"the oldest was due at {display_text(datetime.fromtimestamp(oldest, UTC))}"
        ids = tuple(sorted(set(job_ids)))
        return cls("overdue", ids, "; ".join(filter(None, (due, why))), number if number > len(ids) else 0)


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
    `queues`: the number of queues, if the service also keeps empty ones; `queues_outlive_work`: nothing that is done
    with jobs and workers alone removes a queue. `not_told`: states whose count is unknown,
    with the reason. `counts_as_of`: states whose count is older than this poll. `unserved` is None if the source does
    not know which queues workers serve; that does not mean that nobody serves them. `failed`: the ids of
    all failed jobs if they are in no list, as of `counts_as_of["failed"]`. `left_out`: entries besides jobs, such as
    queues and workers, whose names cannot be accepted.
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
    queues_outlive_work: bool = False
    not_told: Mapping[str, str] = field(default_factory=dict)
    counts_as_of: Mapping[str, datetime] = field(default_factory=dict)
    unserved: tuple[UnservedQueue, ...] | None = None
    failed: frozenset[str] | None = None
    left_out: LeftOut = NOTHING_LEFT_OUT


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
    """What its service tells of one job.

    A field that is None is not known, and `not_told` says why, if there is a reason. `traceback`, `arguments`,
    `depends_on`, `dependents` and `related` (ids of other jobs by their role, such as `parent`) are only read for a
    single job. `arguments` is None unless the service's options allow to show them.
    """

    job: Job
    description: str | None = None
    enqueued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    worker: str | None = None
    error: JobError | None = None
    function: str | None = None
    max_attempts: int | None = None
    scheduled_for: datetime | None = None
    traceback: str | None = None
    is_traceback_cut: bool = False
    arguments: str | None = None
    depends_on: tuple[str, ...] = ()
    dependents: tuple[str, ...] = ()
    related: Mapping[str, str] = field(default_factory=dict)
    not_told: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StuckJob:
    """A job that its service considers stuck, or Beacon judging by the workers, with the reason."""

    job: Job
    reason: str
    since: datetime | None = None


def find_job_id_fault(value: object) -> str:
    """Return why Beacon cannot accept this as a job id, as text after "entry 3: ". Empty if it can."""
    if not isinstance(value, str) or not value:
        return "it has no id"
    if len(value) > MAX_JOB_ID_CHARS:
        return f"its id has more than {MAX_JOB_ID_CHARS:,} characters"
    if not value.isprintable():
        return f"its id has {_name_unprintable(value)}"
    if not value.isascii() and len(value.encode()) > MAX_JOB_ID_BYTES:
        return f"its id has more than {MAX_JOB_ID_BYTES:,} bytes"
    return ""


def _name_unprintable(value: str) -> str:
    if _UNSOUND.search(value):
        return "a control character"
    sign = next(sign for sign in value if not sign.isprintable())
    return f"U+{ord(sign):04X}, which cannot be seen"


def find_name_fault(value: bytes) -> str:
    """Return why Beacon cannot accept this as the name of a queue or worker. Empty if it can."""
    try:
        name = value.decode()
    except UnicodeDecodeError:
        return "its name is not UTF-8"
    return "its name has a control character" if _UNSOUND.search(name) else ""


def clean_text(value: str) -> str:
    """The text with what cannot be stored or shown replaced."""
    return value if value.isascii() and value.isprintable() else _UNSOUND.sub("\N{REPLACEMENT CHARACTER}", value)


def limit_attempt(number: int | None) -> int | None:
    """The number of an attempt; None if it cannot be one."""
    return number if number is not None and 0 <= number <= MAX_ATTEMPT else None

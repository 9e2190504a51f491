"""The protocol of a source: read all jobs, look up one job, state its capabilities, execute commands.

To add a kind, write one file with a class that implements `Source` and a `KIND` that describes it (docs/sources.md).
Reading never writes to the service. A source raises only `SourceError`, and it says so when it does not know something.
Only `execute` changes anything, and it does so at most once.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, NamedTuple, NoReturn, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.sources.arguments import ShowArguments, split_names
from app.sources.host_rules import Reach
from app.sources.operations import (
    ACTION_NAMES,
    OPTIONAL_ACTIONS,
    VIEWS,
    ActionName,
    Capabilities,
    FinishedVisible,
    JobFilter,
    Operation,
    OperationResult,
    Selection,
    View,
)
from app.sources.snapshot import (
    FAILED_STATES,
    MAX_ATTEMPT,
    MAX_JOB_ID_BYTES,
    MAX_JOB_ID_CHARS,
    MAX_RELATED_JOBS,
    MAX_TRACEBACK_BYTES,
    NOTHING_LEFT_OUT,
    Anomaly,
    Job,
    JobDetail,
    JobLookup,
    LeftOut,
    Listing,
    ServiceSnapshot,
    StuckJob,
    UnservedQueue,
    Worker,
    clean_text,
    find_job_id_fault,
    find_name_fault,
    limit_attempt,
)
from app.sources.source_errors import (
    NotSent,
    OutcomeUnknown,
    SourceError,
    Unsupported,
)
from app.sources.tracebacks import JobError

# All that a kind of source needs, from one module.
__all__ = [
    "ACTION_NAMES",
    "FAILED_STATES",
    "MAX_ATTEMPT",
    "MAX_JOB_ID_BYTES",
    "MAX_JOB_ID_CHARS",
    "MAX_RELATED_JOBS",
    "MAX_TRACEBACK_BYTES",
    "NOTHING_LEFT_OUT",
    "OPTIONAL_ACTIONS",
    "VIEWS",
    "ActionName",
    "Anomaly",
    "Capabilities",
    "CommandedSource",
    "Commands",
    "FinishedVisible",
    "Job",
    "JobDetail",
    "JobError",
    "JobFilter",
    "JobLookup",
    "JobOptions",
    "Kind",
    "LeftOut",
    "Listing",
    "NotSent",
    "Operation",
    "OperationResult",
    "Options",
    "OutcomeUnknown",
    "ReadOnlySource",
    "Selection",
    "ServiceAddress",
    "ServiceSnapshot",
    "Source",
    "SourceError",
    "StuckJob",
    "UnservedQueue",
    "Unsupported",
    "View",
    "Worker",
    "clean_text",
    "find_job_id_fault",
    "find_name_fault",
    "limit_attempt",
]


# How many jobs one call of `read_facts` names at most, and how long a kind that reads them one by one may take.
MAX_FACTS = 500
FACTS_TIMEOUT_S = 5.0


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

    def read_facts(self, job_ids: Sequence[str]) -> Mapping[str, JobDetail]:
        """Return what the service tells of these jobs, at most `MAX_FACTS` of them, read in few requests.

        Jobs that are gone are left out, and so are fields that are only read for a single job. Raises `SourceError`.
        """
        ...

    def stuck(self) -> Sequence[StuckJob]:
        """Return jobs that should make progress and do not. Raises `SourceError`."""
        ...

    def close(self) -> None:
        """Release connections after the last use. Never called while another method is running."""
        ...


class FactsByDetail:
    """Reads the facts of many jobs one by one, for a kind without a request for many."""

    def detail(self, job_id: str) -> JobDetail | None:
        raise NotImplementedError

    def read_facts(self, job_ids: Sequence[str]) -> Mapping[str, JobDetail]:
        """As far as the time allows; the caller asks for the rest later. A job that cannot be read ends the batch."""
        found: dict[str, JobDetail] = {}
        ends = time.monotonic() + FACTS_TIMEOUT_S
        for job_id in job_ids:
            detail = self.detail(job_id)
            if detail is not None:
                found[job_id] = detail
            if time.monotonic() >= ends:
                break
        return found


class ReadOnlySource(FactsByDetail):
    """Base class of sources that support no actions: refuses every operation."""

    def execute(self, operation: Operation) -> OperationResult:
        return OperationResult("refused", f"This source does not support {operation.action}.")

    def resolve_outcome(self, operation: Operation, asked_at: datetime) -> OperationResult | None:  # noqa: ARG002 -- it was never executed
        return OperationResult("refused", f"This source does not support {operation.action}.")

    def verify_effect(self, operation: Operation, asked_at: datetime) -> bool:  # noqa: ARG002 -- it was never executed
        return False

    def select(self, wanted: JobFilter, limit: int) -> NoReturn:  # noqa: ARG002 -- no command needs a selection
        raise SourceError("accepts no commands, so its jobs cannot be selected for one")


class CommandedSource(FactsByDetail):
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


class JobOptions(Options):
    """The settings of a kind whose jobs have arguments."""

    show_arguments: Annotated[ShowArguments, BeforeValidator(split_names)] = Field(
        "none", description="Which arguments of a job are shown: none, all, or names separated by commas."
    )


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

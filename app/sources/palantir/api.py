"""The answers of a Palantir HTTP job service (docs/sources/palantir.md) and the order of its job states."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Annotated, Any, NotRequired, TypeVar
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from typing_extensions import TypedDict  # before Python 3.12 pydantic cannot read the standard library's

from app.infra import json_limits
from app.infra.clock import Moment
from app.infra.redaction import replace_unstorable
from app.sources.arguments import ShowArguments, show_values
from app.sources.http_client import parse_json
from app.sources.protocol import (
    MAX_ATTEMPT,
    MAX_JOB_ID_CHARS,
    MAX_TRACEBACK_BYTES,
    Job,
    JobDetail,
    JobError,
    SourceError,
    clean_text,
)
from app.sources.tracebacks import Frame, parse_error

PAGE_SIZE = 1_000
MAX_STUCK_JOBS = 1_000
MAX_ERROR_CHARS = 2_000
MAX_FUNCTION_CHARS = 500
MAX_WORKER_CHARS = 200
MAX_STATES = 40
# Limit on the ids that the answer to a purge lists.
MAX_PURGED_IDS = 50_000
# The statuses of an answer about one job: it is there, never was, or is gone.
JOB_STATUSES = frozenset({200, 404, 410})
# In flow order. A state that is in neither list counts as unfinished: a job must not leave the known set only because
# its service uses an unknown word.
UNFINISHED = ("scheduled", "deferred", "queued", "running", "retrying")
FINISHED = frozenset(
    {
        *("succeeded", "success", "successful", "completed", "complete", "done", "finished"),
        *("failed", "failure", "error", "errored", "dead", "aborted", "stopped", "rejected", "timed_out"),
        *("deleted", "removed", "purged", "cancelled", "canceled", "revoked", "skipped", "expired", "archived"),
    }
)

NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"
Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_JOB_ID_CHARS, pattern=NO_CONTROLS)]
# Where the next page starts. Usually the last id of a page, which may be one that is left out.
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=20 * MAX_JOB_ID_CHARS)]
# Ids of purged jobs need not be acceptable as job ids.
Purged = Annotated[str, StringConstraints(min_length=1)]
State = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")]
QueueName = Annotated[str, StringConstraints(max_length=200, pattern=NO_CONTROLS)]
Number = Annotated[int, Field(ge=0, le=MAX_ATTEMPT)]
# What the service says of itself costs no job, so it is cleaned instead of refused.
Text = Annotated[str, StringConstraints(max_length=200), AfterValidator(clean_text)]
Revision = int | Text


def _replace_unstorable(text: Any) -> Any:
    return replace_unstorable(text) if isinstance(text, str) else text


def _shorten(text: Any) -> Any:
    return replace_unstorable(text[:MAX_ERROR_CHARS]) if isinstance(text, str) else text


def _shorten_name(limit: int) -> Callable[[Any], Any]:
    """Return a function that cuts and cleans a name, so that a bad name costs no other fact of the job."""
    return lambda text: clean_text(text[:limit]) if isinstance(text, str) else text


def _limit_states(counts: Any) -> Any:
    """Limit the number of states before the validator checks the keys: it keeps an error for each invalid one."""
    if isinstance(counts, dict) and len(counts) > MAX_STATES:
        raise ValueError(f"expected at most {MAX_STATES} states")
    return counts


class PalantirAnswer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


A = TypeVar("A", bound=PalantirAnswer)


class HealthAnswer(PalantirAnswer):
    status: Annotated[str, StringConstraints(max_length=100), AfterValidator(clean_text)] = "ok"
    instance_id: Text | None = Field(None, alias="instanceId")
    started_at: Moment | None = Field(None, alias="startedAt")


class CountsAnswer(PalantirAnswer):
    counts: Annotated[dict[State, Number], BeforeValidator(_limit_states)]
    as_of: Moment | None = Field(None, alias="asOf")
    revision: Revision | None = None


class ErrorAnswer(PalantirAnswer):
    """Why a job failed. `frame` is the innermost frame in the team's own code, in words."""

    type: Annotated[str, BeforeValidator(_shorten)] = ""
    message: Annotated[str, BeforeValidator(_shorten)] = ""
    frame: Annotated[str, BeforeValidator(_shorten)] | None = None
    traceback: Annotated[str, BeforeValidator(_replace_unstorable)] | None = None


class JobAnswer(PalantirAnswer):
    id: Id
    state: State
    queue: QueueName | None = None
    attempt: Number | None = None

    enqueued_at: Moment | None = Field(None, alias="enqueuedAt")
    started_at: Moment | None = Field(None, alias="startedAt")
    finished_at: Moment | None = Field(None, alias="finishedAt")
    scheduled_for: Moment | None = Field(None, alias="scheduledFor")
    ended_at: Moment | None = Field(None, alias="endedAt")
    worker: Annotated[str, BeforeValidator(_shorten_name(MAX_WORKER_CHARS))] | None = None
    function: Annotated[str, BeforeValidator(_shorten_name(MAX_FUNCTION_CHARS))] | None = None
    max_attempts: Number | None = Field(None, alias="maxAttempts")
    error: ErrorAnswer | Annotated[str, BeforeValidator(_replace_unstorable)] | None = None
    arguments: dict[str, Any] | list[Any] | None = None

    def to_job(self) -> Job:
        return Job(self.id, self.state, self.queue, self.attempt)

    def to_detail(self, show: ShowArguments = "none") -> JobDetail:
        error, traceback = _read_error(self.error)
        return JobDetail(
            self.to_job(),
            enqueued_at=self.enqueued_at,
            started_at=self.started_at,
            ended_at=self.ended_at or self.finished_at,
            scheduled_for=self.scheduled_for,
            worker=self.worker,
            error=error,
            function=self.function,
            max_attempts=self.max_attempts,
            traceback=traceback[-MAX_TRACEBACK_BYTES:] or None,
            is_traceback_cut=len(traceback) > MAX_TRACEBACK_BYTES,
            arguments=_show_arguments(self.arguments, show),
        )


class ListedJob(TypedDict):
    """The fields of a job that a poll needs. A dictionary, because each poll creates thousands."""

    id: Id
    state: State
    queue: NotRequired[QueueName | None]
    attempt: NotRequired[Number | None]
    # Parsed where it matters (`late_jobs.py`): a time that cannot be read costs no row.
    scheduledFor: NotRequired[Any]


class PageAnswer(PalantirAnswer):
    # In every list, validation stops at the first invalid job: a thousand errors would say no more. `job_rows.py` then
    # reads the list without the invalid jobs.
    jobs: list[ListedJob] = Field(max_length=PAGE_SIZE, fail_fast=True)
    next: Cursor | None = None
    revision: Revision | None = None


class WholePageAnswer(PalantirAnswer):
    """A page with all fields of each job, for uses other than a poll."""

    jobs: list[JobAnswer] = Field(max_length=PAGE_SIZE, fail_fast=True)
    next: Cursor | None = None
    revision: Revision | None = None


class StuckAnswer(PalantirAnswer):
    jobs: list[JobAnswer] = Field(max_length=MAX_STUCK_JOBS, fail_fast=True)
    threshold_s: Annotated[float, Field(ge=0)] | None = Field(None, alias="thresholdS")


class GoneAnswer(PalantirAnswer):
    state: State


class PurgedAnswer(PalantirAnswer):
    purged: Number
    job_ids: Annotated[list[Purged], Field(max_length=MAX_PURGED_IDS, fail_fast=True)] | None = Field(
        None, alias="jobIds"
    )


class RefusedAnswer(PalantirAnswer):
    """The body of an answer with a status of 400 or more, which may give a reason."""

    error: Annotated[str, BeforeValidator(_shorten)] | None = None


def _read_error(error: ErrorAnswer | str | None) -> tuple[JobError | None, str]:
    """The error and its traceback. What the service names itself takes precedence over what the traceback says."""
    if not isinstance(error, ErrorAnswer):
        return parse_error(error or ""), ""
    text = error.traceback or ""
    parsed = parse_error(text)
    frame = Frame(error.frame, None) if error.frame else parsed.frame if parsed else None
    if error.type or error.message:
        return JobError(error.type, error.message, frame), text
    return parsed, text


def _show_arguments(arguments: dict[str, Any] | list[Any] | None, show: ShowArguments) -> str | None:
    if arguments is None or show == "none":
        return None
    return show_values([], arguments, show) if isinstance(arguments, dict) else show_values(arguments, {}, show)


def job_path(job_id: str) -> str:
    return f"/api/v1/jobs/{quote(job_id, safe='')}"


def is_finished(state: str) -> bool:
    return state.lower() in FINISHED


def sort_by_flow(states: Iterable[str]) -> list[str]:
    """Sort states in flow order: known unfinished states first, then unknown ones, finished ones last.

    `queued` and `running` are always included, even if the counts leave them out.
    """

    def place(state: str) -> tuple[bool, int, str]:
        known = UNFINISHED.index(state.lower()) if state.lower() in UNFINISHED else len(UNFINISHED)
        return is_finished(state), known, state

    return sorted({"queued", "running", *states}, key=place)


def parse(model: type[A], found: Any) -> A:
    try:
        return model.model_validate(found)
    except ValidationError as error:
        place, message = describe_first_fault(error)
        reason = f"answered something other than the Palantir API: {place or 'answer'}: {message}"
    raise SourceError(reason)  # outside the except block: the validator's error contains the whole answer


def parse_body(model: type[A], body: bytes) -> A:
    return parse_at_once(model, body) or parse(model, parse_json(body))


def parse_at_once(model: type[A], body: bytes) -> A | None:
    """Validate the body while parsing it, which takes a quarter of the time. None if that fails, without the reason."""
    if not json_limits.may_exceed(body, json_limits.MAX_VALUES):
        with suppress(ValidationError):
            return json_limits.parse_off_loop(model.model_validate_json, body)
    return None


def describe_first_fault(error: ValidationError) -> tuple[str, str]:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ".".join(str(part) for part in first["loc"])[:80], first["msg"]

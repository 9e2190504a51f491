"""What a Palantir HTTP job service answers (docs/palantir-api.md), and which of its states come after which."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from typing_extensions import TypedDict  # before Python 3.12 pydantic cannot read the standard library's

from app.infra import json_limits
from app.infra.clock import Moment
from app.sources.http_client import parse_json
from app.sources.protocol import MAX_JOB_ID_CHARS, Job, JobDetail, SourceError

PAGE_SIZE = 1_000
MAX_STUCK = 1_000
MAX_ERROR_CHARS = 2_000
MAX_STATES = 40
# Ids that the answer to a purge names.
MAX_PURGED_IDS = 50_000
# In the order in which jobs flow. A state that is in neither list is taken for unfinished: a job must not
# leave the known set only because its service uses a word that we do not know.
UNFINISHED = ("scheduled", "deferred", "queued", "running", "retrying")
FINISHED = frozenset(
    {
        *("succeeded", "success", "successful", "completed", "complete", "done", "finished"),
        *("failed", "failure", "error", "errored", "dead", "aborted", "stopped", "rejected", "timed_out"),
        *("deleted", "removed", "purged", "cancelled", "canceled", "revoked", "skipped", "expired", "archived"),
    }
)

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_JOB_ID_CHARS, pattern=r"^[^\x00-\x1f\x7f]+$")]
# Where to read on from. Usually the last id of a page, which may be one that is left out.
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=20 * MAX_JOB_ID_CHARS)]
# What is gone need not be readable.
Purged = Annotated[str, StringConstraints(min_length=1)]
State = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")]
QueueName = Annotated[str, StringConstraints(max_length=200)]
Number = Annotated[int, Field(ge=0, le=2**53)]
Revision = int | Annotated[str, StringConstraints(max_length=200)]


def _shorten(text: Any) -> Any:
    return text[:MAX_ERROR_CHARS] if isinstance(text, str) else text


def _limit_states(counts: Any) -> Any:
    """Before a key is looked at: the validator keeps an error for each that is wrong."""
    if isinstance(counts, dict) and len(counts) > MAX_STATES:
        raise ValueError(f"expected at most {MAX_STATES} states")
    return counts


class PalantirAnswer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


A = TypeVar("A", bound=PalantirAnswer)


class HealthAnswer(PalantirAnswer):
    status: Annotated[str, StringConstraints(max_length=100)] = "ok"
    instance_id: Annotated[str, StringConstraints(max_length=200)] | None = Field(None, alias="instanceId")
    started_at: Moment | None = Field(None, alias="startedAt")


class CountsAnswer(PalantirAnswer):
    counts: Annotated[dict[State, Number], BeforeValidator(_limit_states)]
    as_of: Moment | None = Field(None, alias="asOf")
    revision: Revision | None = None


class JobAnswer(PalantirAnswer):
    id: Id
    state: State
    queue: QueueName | None = None
    attempt: Number | None = None

    enqueued_at: Moment | None = Field(None, alias="enqueuedAt")
    started_at: Moment | None = Field(None, alias="startedAt")
    finished_at: Moment | None = Field(None, alias="finishedAt")
    worker: Annotated[str, StringConstraints(max_length=200)] | None = None
    error: str | None = None

    def to_job(self) -> Job:
        return Job(self.id, self.state, self.queue, self.attempt)

    def to_detail(self) -> JobDetail:
        return JobDetail(
            self.to_job(),
            enqueued_at=self.enqueued_at,
            started_at=self.started_at,
            ended_at=self.finished_at,
            worker=self.worker,
            error=self.error[:MAX_ERROR_CHARS] if self.error else None,
        )


class ListedJob(TypedDict):
    """What a look needs of a job. A dictionary, because thousands are made at every poll; the rest is not looked at."""

    id: Id
    state: State
    queue: NotRequired[QueueName | None]
    attempt: NotRequired[Number | None]


class PageAnswer(PalantirAnswer):
    # In every list the first job that is wrong ends the reading: a thousand errors would say no more. Whoever can do
    # without that job reads on in `palantir_rows.py`.
    jobs: list[ListedJob] = Field(max_length=PAGE_SIZE, fail_fast=True)
    next: Cursor | None = None
    revision: Revision | None = None


class WholePageAnswer(PalantirAnswer):
    """For whoever has to look at more of each job than a look does."""

    jobs: list[JobAnswer] = Field(max_length=PAGE_SIZE, fail_fast=True)
    next: Cursor | None = None
    revision: Revision | None = None


class StuckAnswer(PalantirAnswer):
    jobs: list[JobAnswer] = Field(max_length=MAX_STUCK, fail_fast=True)
    threshold_s: Annotated[float, Field(ge=0)] | None = Field(None, alias="thresholdS")


class GoneAnswer(PalantirAnswer):
    state: State


class PurgedAnswer(PalantirAnswer):
    purged: Number
    job_ids: Annotated[list[Purged], Field(max_length=MAX_PURGED_IDS, fail_fast=True)] | None = Field(
        None, alias="jobIds"
    )


class RefusedAnswer(PalantirAnswer):
    """Why not: whatever has a status of 400 and more may say so."""

    error: Annotated[str, BeforeValidator(_shorten)] | None = None


def is_finished(state: str) -> bool:
    return state.lower() in FINISHED


def sort_by_flow(states: Iterable[str]) -> list[str]:
    """Unfinished ones first, unknown words after the known ones, finished last: as a job moves, so it is read.

    `queued` and `running` are read even where the counts leave them out.
    """

    def place(state: str) -> tuple[bool, int, str]:
        known = UNFINISHED.index(state.lower()) if state.lower() in UNFINISHED else len(UNFINISHED)
        return is_finished(state), known, state

    return sorted({"queued", "running", *states}, key=place)


def parse(model: type[A], found: Any) -> A:
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "answer"
        reason = f"answered something else than the Palantir API: {place[:80]}: {first['msg']}"
    raise SourceError(reason)  # behind the validator's error, which holds the whole answer


def parse_body(model: type[A], body: bytes) -> A:
    """Checked while it is parse_json, which takes a quarter of the time. What is refused that way gets a second look."""
    if not json_limits.may_exceed(body, json_limits.MAX_VALUES):
        with suppress(ValidationError):
            return model.model_validate_json(body)
    return parse(model, parse_json(body))

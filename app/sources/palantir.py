"""A job service that speaks the Palantir HTTP API."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.sources.base import (
    MAX_JOB_ID_CHARS,
    Capabilities,
    FinishedVisible,
    Job,
    JobFate,
    Listing,
    Look,
    SourceError,
)
from app.sources.http import HttpClient

PAGE = 1_000
# A whole look is many requests: it too must end before its service would count as silent.
LOOK_S = 15.0
LOOK_UP_STATUSES = frozenset({200, 404, 410})

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
State = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")]
Number = Annotated[int, Field(ge=0, le=2**53)]
Revision = int | Annotated[str, StringConstraints(max_length=200)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


A = TypeVar("A", bound=_Answer)


class _Health(_Answer):
    status: Annotated[str, StringConstraints(max_length=100)] = "ok"
    instance_id: Annotated[str, StringConstraints(max_length=200)] | None = Field(None, alias="instanceId")


class _Counts(_Answer):
    counts: dict[State, Number] = Field(max_length=40)
    as_of: AwareDatetime | None = Field(None, alias="asOf")
    revision: Revision | None = None


class _Job(_Answer):
    id: Id
    state: State
    queue: Annotated[str, StringConstraints(max_length=200)] | None = None
    attempt: Number | None = None

    def job(self) -> Job:
        return Job(self.id, self.state, self.queue, self.attempt)


class _Page(_Answer):
    jobs: list[_Job] = Field(max_length=PAGE)
    next: Id | None = None
    revision: Revision | None = None


class _Gone(_Answer):
    state: State


class PalantirSource:
    """Health, counts, then the jobs of each state in flow order; one id where a job's fate is asked."""

    def __init__(
        self,
        url: str,
        job_list_bound: int,
        finished_visible_for_s: FinishedVisible = "lookup",
        *,
        look_s: float = LOOK_S,
        http: HttpClient | None = None,
    ) -> None:
        self._http = http or HttpClient(url)
        self._bound, self._look_s = job_list_bound, look_s
        self._capabilities = Capabilities(finished_visible_for_s)

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def look(self) -> Look:
        reading = _Reading(self._http, self._bound, self._look_s)
        health = reading.get("/api/v1/health", _Health)
        counts = reading.get("/api/v1/jobs/counts", _Counts)
        listings = tuple(reading.listing(state) for state in in_flow_order(counts.counts))
        return Look(
            counts=counts.counts,
            listings=listings,
            latency_ms=reading.latency_ms,
            instance_id=health.instance_id,
            as_of=counts.as_of,
            revision=None if counts.revision is None else str(counts.revision),
            one_revision=counts.revision is not None and reading.revisions <= {counts.revision},
        )

    def look_up(self, job_id: str) -> JobFate:
        try:
            answer = self._http.get(f"/api/v1/jobs/{quote(job_id, safe='')}", expect=LOOK_UP_STATUSES)
            if answer.status == 404:
                return JobFate("unknown")
            if answer.status == 410:
                return JobFate("finished", end_state=_parse(_Gone, answer.json).state)
            return _fate(_parse(_Job, answer.json).job(), job_id)
        except SourceError:
            return JobFate("cannot-tell")


class _Reading:
    """One look while it is under way: how long it may still take, which revisions it has met."""

    def __init__(self, http: HttpClient, bound: int, seconds: float) -> None:
        self._http, self._bound, self._seconds = http, bound, seconds
        self._began = time.monotonic()
        self.revisions: set[int | str | None] = set()

    @property
    def latency_ms(self) -> int:
        return round((time.monotonic() - self._began) * 1000)

    def get(self, path: str, model: type[A], params: Mapping[str, str | int] | None = None) -> A:
        left = self._began + self._seconds - time.monotonic()
        if left <= 0:
            raise SourceError(f"did not finish answering within {self._seconds:g} s")
        return _parse(model, self._http.get(path, params, within_s=left).json)

    def listing(self, state: str) -> Listing:
        """All jobs of `state`, or none where there are more than the bound: then only their count is known."""
        jobs: dict[str, Job] = {}
        finished = is_finished(state)
        for page in self._pages(state):
            # The list's own word for the state is not trusted: a moving job may already carry the next one.
            jobs.update((job.id, Job(job.id, state, job.queue, job.attempt)) for job in page.jobs)
            if len(jobs) > self._bound:
                return Listing(state, finished, {}, complete=False)
        return Listing(state, finished, jobs)

    def _pages(self, state: str) -> Iterator[_Page]:
        after = ""
        while True:
            page = self.get("/api/v1/jobs", _Page, {"state": state, "after": after, "limit": PAGE})
            self.revisions.add(page.revision)
            yield page
            if page.next is None:
                return
            if page.next <= after or not page.jobs:
                raise SourceError("answered a list of jobs that does not end")
            after = page.next


def is_finished(state: str) -> bool:
    return state.lower() in FINISHED


def in_flow_order(states: Iterable[str]) -> list[str]:
    """Unfinished ones first, unknown words after the known ones, finished last: as a job moves, so it is read.

    `queued` and `running` are read even where the counts leave them out.
    """

    def place(state: str) -> tuple[bool, int, str]:
        known = UNFINISHED.index(state.lower()) if state.lower() in UNFINISHED else len(UNFINISHED)
        return is_finished(state), known, state

    return sorted({"queued", "running", *states}, key=place)


def _fate(job: Job, asked: str) -> JobFate:
    if job.id != asked:
        return JobFate("cannot-tell")
    if is_finished(job.state):
        return JobFate("finished", end_state=job.state)
    return JobFate("found", job=job)


def _parse(model: type[A], found: Any) -> A:
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "answer"
        raise SourceError(f"answered something else than the Palantir API: {place[:80]}: {first['msg']}") from error

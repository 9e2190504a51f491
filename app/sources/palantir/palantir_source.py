"""The source of a job service with the Palantir HTTP API."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote

from pydantic import Field

from app.sources.http_client import HttpClient
from app.sources.palantir.api import (
    PAGE_SIZE,
    A,
    CountsAnswer,
    GoneAnswer,
    HealthAnswer,
    JobAnswer,
    PageAnswer,
    StuckAnswer,
    WholePageAnswer,
    is_finished,
    parse,
    parse_body,
    sort_by_flow,
)
from app.sources.palantir.job_rows import read_rows
from app.sources.palantir.palantir_commands import COMMAND_TIMEOUT_S, PalantirCommands
from app.sources.protocol import (
    NOTHING_LEFT_OUT,
    Capabilities,
    FinishedVisible,
    Job,
    JobDetail,
    JobFilter,
    JobLookup,
    LeftOut,
    Listing,
    Operation,
    OperationResult,
    Options,
    Selection,
    ServiceSnapshot,
    SourceError,
    StuckJob,
    Unsupported,
)

P = TypeVar("P", PageAnswer, WholePageAnswer)
# A poll consists of many requests. It must end before the service would count as silent.
READ_TIMEOUT_S = 15.0
LOOKUP_STATUSES = frozenset({200, 404, 410})
NO_WORKERS = "the Palantir HTTP API does not report workers"


class PalantirSource:
    """Reads health, counts, then the jobs of each state in flow order. A lookup reads a single job."""

    def __init__(
        self,
        url: str,
        job_list_bound: int,
        finished_visible_for_s: FinishedVisible = "lookup",
        *,
        read_timeout_s: float = READ_TIMEOUT_S,
        command_timeout_s: float = COMMAND_TIMEOUT_S,
        http: HttpClient | None = None,
    ) -> None:
        self._http = http or HttpClient(url)
        self._commands = PalantirCommands(self._http, command_timeout_s)
        self._bound, self._read_timeout_s = job_list_bound, read_timeout_s
        self._capabilities = Capabilities(finished_visible_for_s, {"workers": NO_WORKERS}, dates_figures=True)

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def read_snapshot(self) -> ServiceSnapshot:
        reading = _BoundedReader(self._http, self._bound, self._read_timeout_s)
        health = reading.get("/api/v1/health", HealthAnswer)
        counts = reading.get("/api/v1/jobs/counts", CountsAnswer)
        listed = _choose_listed(counts.counts, self._bound)
        listings = tuple(reading.read_listing(state, state in listed) for state in sort_by_flow(counts.counts))
        return ServiceSnapshot(
            counts=counts.counts,
            listings=listings,
            latency_ms=reading.latency_ms,
            health=health.status,
            instance_id=health.instance_id,
            as_of=counts.as_of,
            revision=None if counts.revision is None else str(counts.revision),
            one_revision=counts.revision is not None and reading.revisions <= {counts.revision},
        )

    def look_up(self, job_id: str) -> JobLookup:
        try:
            answer = self._http.get(f"/api/v1/jobs/{quote(job_id, safe='')}", expect=LOOKUP_STATUSES)
            if answer.status == 404:
                return JobLookup("unknown")
            if answer.status == 410:
                return JobLookup("finished", end_state=parse(GoneAnswer, answer.json).state)
            return _to_fate(parse(JobAnswer, answer.json).to_job(), job_id)
        except SourceError:
            return JobLookup("cannot-tell")

    def detail(self, job_id: str) -> JobDetail | None:
        answer = self._http.get(f"/api/v1/jobs/{quote(job_id, safe='')}", expect=LOOKUP_STATUSES)
        if answer.status == 404:
            return None
        if answer.status == 410:
            return JobDetail(Job(job_id, parse(GoneAnswer, answer.json).state))
        return parse(JobAnswer, answer.json).to_detail()

    def stuck(self) -> Sequence[StuckJob]:
        found, _ = read_rows(StuckAnswer, self._http.fetch("/api/v1/jobs/stuck").bytes, str)
        limit = f" for more than {found.threshold_s:g} s" if found.threshold_s is not None else ""
        return [StuckJob(job.to_job(), f"{job.state}{limit}", job.started_at) for job in found.jobs]

    def execute(self, operation: Operation) -> OperationResult:
        return self._commands.execute(operation)

    def resolve_outcome(self, operation: Operation, asked_at: datetime) -> OperationResult | None:
        return self._commands.resolve_outcome(operation, asked_at)

    def verify_effect(self, operation: Operation, asked_at: datetime) -> bool:
        return self._commands.verify_effect(operation, asked_at)

    def select(self, wanted: JobFilter, limit: int) -> Selection:
        reading, as_of = _BoundedReader(self._http, self._bound, self._read_timeout_s), datetime.now(UTC)
        if wanted.older_than is not None:
            wanted = replace(wanted, older_than=self._commands.to_service_clock(wanted.older_than))
        total, first = 0, list[str]()
        for page, _ in reading.read_pages(wanted.state, WholePageAnswer):
            found = [job.id for job in page.jobs if _matches(job, wanted)]
            total += len(found)
            first += found[: limit - len(first)]
        return Selection(as_of, total, tuple(first))

    def close(self) -> None:
        self._http.close()


class _BoundedReader:
    """The requests of one read: keeps the time left and the revisions seen."""

    def __init__(self, http: HttpClient, bound: int, seconds: float) -> None:
        self._http, self._left, self._seconds = http, bound, seconds
        self._began = time.monotonic()
        self.revisions: set[int | str | None] = set()

    @property
    def latency_ms(self) -> int:
        return round((time.monotonic() - self._began) * 1000)

    def get(self, path: str, model: type[A]) -> A:
        return parse_body(model, self._fetch(path))

    def _fetch(self, path: str, params: Mapping[str, str | int] | None = None) -> bytes:
        left = self._began + self._seconds - time.monotonic()
        if left <= 0:
            raise SourceError(f"did not finish answering within {self._seconds:g} s")
        return self._http.fetch(path, params, within_s=left).bytes

    def read_listing(self, state: str, is_listed: bool) -> Listing:
        """Return all jobs of `state`, or none if there are more than the limit leaves room for."""
        jobs: dict[str, Job] = {}
        finished = is_finished(state)
        if not is_listed:
            return Listing(state, finished, {}, complete=False)
        left_out = NOTHING_LEFT_OUT
        for page, bad in self.read_pages(state, PageAnswer):
            left_out = LeftOut(left_out.number + bad.number, left_out.first or bad.first)
            # Do not use the state in the row: a job that moves on may already have the next one.
            jobs |= {(i := job["id"]): Job(i, state, job.get("queue"), job.get("attempt")) for job in page.jobs}
            if len(jobs) > self._left:
                return Listing(state, finished, {}, complete=False)
        self._left -= len(jobs)
        return Listing(state, finished, jobs, left_out=left_out)

    def read_pages(self, state: str, model: type[P]) -> Iterator[tuple[P, LeftOut]]:
        """Yield each page with the rows that were left out of it."""
        after, before = "", 0
        while True:
            query: Mapping[str, str | int] = {"state": state, "after": after, "limit": PAGE_SIZE}
            page, left_out = read_rows(model, self._fetch("/api/v1/jobs", query), partial(_row_name, state, before))
            self.revisions.add(page.revision)
            yield page, left_out
            rows = len(page.jobs) + left_out.number
            if page.next is None:
                return
            if page.next <= after or not rows:
                raise SourceError("answered a list of jobs that does not end")
            after, before = page.next, before + rows


def _choose_listed(counts: Mapping[str, int], bound: int) -> frozenset[str]:
    """Return the states whose jobs are listed, `bound` jobs in all: unfinished states first, then small ones."""
    listed = set[str]()
    for state in sorted(sort_by_flow(counts), key=lambda state: (is_finished(state), counts.get(state, 0))):
        if counts.get(state, 0) <= bound:  # a state that is too large leaves room for the following ones
            bound -= counts.get(state, 0)
            listed.add(state)
    return frozenset(listed)


def _row_name(state: str, before: int, place: int) -> str:
    return f"entry {before + place + 1:,} of {state}"


def _matches(job: JobAnswer, wanted: JobFilter) -> bool:
    if wanted.queue is not None and job.queue != wanted.queue:
        return False
    return wanted.older_than is None or _state_since(job, wanted) < wanted.older_than


def _state_since(job: JobAnswer, wanted: JobFilter) -> datetime:
    """Return since when the job is in that state; for unknown states, since when it is queued."""
    since = job.finished_at if is_finished(wanted.state) else None
    since = since or (job.started_at if wanted.state == "running" else None) or job.enqueued_at
    if since is None:
        raise Unsupported("does not report how old its jobs are")
    return since


def _to_fate(job: Job, asked: str) -> JobLookup:
    if job.id != asked:
        return JobLookup("cannot-tell")
    if is_finished(job.state):
        return JobLookup("finished", end_state=job.state)
    return JobLookup("found", job=job)


class PalantirOptions(Options):
    finished_visible_for_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["lookup", "none"] = "lookup"

    @property
    def finished_visible(self) -> FinishedVisible:
        return None if self.finished_visible_for_s == "none" else self.finished_visible_for_s

"""The source of a job service with the Palantir HTTP API."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from app.infra.clock import utc_now
from app.sources.arguments import ShowArguments
from app.sources.http_client import HttpClient
from app.sources.list_choice import choose_lists
from app.sources.palantir.api import (
    JOB_STATUSES,
    CountsAnswer,
    GoneAnswer,
    HealthAnswer,
    JobAnswer,
    StuckAnswer,
    is_finished,
    job_path,
    parse,
    sort_by_flow,
)
from app.sources.palantir.bounded_reader import READ_TIMEOUT_S, BoundedReader
from app.sources.palantir.job_rows import read_rows
from app.sources.palantir.late_jobs import find_anomaly
from app.sources.palantir.palantir_commands import COMMAND_TIMEOUT_S, PalantirCommands
from app.sources.protocol import (
    Capabilities,
    CommandedSource,
    FinishedVisible,
    Job,
    JobDetail,
    JobLookup,
    JobOptions,
    ServiceSnapshot,
    SourceError,
    StuckJob,
)

NO_WORKERS = "the Palantir HTTP API does not report workers"


class PalantirSource(CommandedSource):
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
        show_arguments: ShowArguments = "none",
    ) -> None:
        self._http = http or HttpClient(url)
        self._bound, self._read_timeout_s = job_list_bound, read_timeout_s
        self._show_arguments = show_arguments
        super().__init__(
            Capabilities(finished_visible_for_s, {"workers": NO_WORKERS}, dates_figures=True),
            PalantirCommands(self._http, command_timeout_s, read_timeout_s),
        )

    def read_snapshot(self) -> ServiceSnapshot:
        reading = BoundedReader(self._http, self._bound, self._read_timeout_s)
        health = reading.get("/api/v1/health", HealthAnswer)
        counts = reading.get("/api/v1/jobs/counts", CountsAnswer)
        numbers = {state: counts.counts.get(state, 0) for state in sort_by_flow(counts.counts)}
        listed = choose_lists(numbers, self._bound, is_finished)
        listings = tuple(reading.read_listing(state, state in listed) for state in numbers)
        return ServiceSnapshot(
            counts=counts.counts,
            listings=listings,
            latency_ms=reading.latency_ms,
            health=health.status,
            instance_id=health.instance_id,
            as_of=counts.as_of,
            revision=None if counts.revision is None else str(counts.revision),
            one_revision=counts.revision is not None and reading.revisions <= {counts.revision},
            anomalies=find_anomaly(reading.due, listings, counts.as_of or utc_now()),
        )

    def look_up(self, job_id: str) -> JobLookup:
        try:
            answer = self._http.get(job_path(job_id), expect=JOB_STATUSES)
            if answer.status == 404:
                return JobLookup("unknown")
            if answer.status == 410:
                return JobLookup("finished", end_state=parse(GoneAnswer, answer.json).state)
            return _to_fate(parse(JobAnswer, answer.json).to_job(), job_id)
        except SourceError:
            return JobLookup("cannot-tell")

    def detail(self, job_id: str) -> JobDetail | None:
        answer = self._http.get(job_path(job_id), expect=JOB_STATUSES)
        if answer.status == 404:
            return None
        if answer.status == 410:
            return JobDetail(Job(job_id, parse(GoneAnswer, answer.json).state))
        return parse(JobAnswer, answer.json).to_detail(self._show_arguments)

    def stuck(self) -> Sequence[StuckJob]:
        found, left_out = read_rows(StuckAnswer, self._http.fetch("/api/v1/jobs/stuck"), _name_stuck_row)
        if left_out.number and not found.jobs:
            raise SourceError(f"lists {left_out.number:,} stuck jobs that Beacon cannot read; {left_out.first}")
        limit = f" for more than {found.threshold_s:g} s" if found.threshold_s is not None else ""
        return [StuckJob(job.to_job(), f"{job.state}{limit}", job.started_at) for job in found.jobs]

    def close(self) -> None:
        self._http.close()


def _name_stuck_row(place: int) -> str:
    return f"entry {place + 1:,}"


def _to_fate(job: Job, asked: str) -> JobLookup:
    if job.id != asked:
        return JobLookup("cannot-tell")
    if is_finished(job.state):
        return JobLookup("finished", end_state=job.state)
    return JobLookup("found", job=job)


class PalantirOptions(JobOptions):
    finished_visible_for_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["lookup", "none"] = "lookup"

    @property
    def finished_visible(self) -> FinishedVisible:
        return None if self.finished_visible_for_s == "none" else self.finished_visible_for_s

"""Commands for the Palantir HTTP API: their requests, the meaning of the answers, and verification by reading.

The service remembers the `Idempotency-Key`, so a command that reaches it twice is executed once.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

from app.sources.http_client import HttpClient, JsonResponse
from app.sources.palantir.api import (
    JOB_STATUSES,
    CountsAnswer,
    GoneAnswer,
    HealthAnswer,
    JobAnswer,
    PurgedAnswer,
    RefusedAnswer,
    WholePageAnswer,
    is_finished,
    job_path,
    parse,
)
from app.sources.palantir.bounded_reader import BoundedReader
from app.sources.protocol import (
    ActionName,
    JobFilter,
    LeftOut,
    Operation,
    OperationResult,
    OutcomeUnknown,
    Selection,
    SourceError,
    Unsupported,
)

COMMAND_TIMEOUT_S = 10.0
# Remaining difference between compared clocks, and of times that are truncated to milliseconds.
MAX_CLOCK_DIFFERENCE = timedelta(seconds=0.5)
# Reading thousands of jobs takes a while; clocks do not drift apart in that time.
COMPARE_EVERY_S = 5.0
# With a status outside this range the command may have been executed: the server failed, or a proxy does not know.
_SURE_FROM, _SURE_BELOW = 200, 500


class PalantirCommands:
    """Executes commands over the source's HTTP client. For one thread at a time, like the client."""

    def __init__(self, http: HttpClient, command_timeout_s: float, read_timeout_s: float) -> None:
        self._http, self._command_timeout_s, self._read_timeout_s = http, command_timeout_s, read_timeout_s
        self._ahead, self._compared_at = timedelta(0), -COMPARE_EVERY_S

    def execute(self, operation: Operation) -> OperationResult:
        begin_s = operation.seconds_left(self._command_timeout_s)
        method, path, *_ = _CALLS[operation.action]
        answer = self._http.send(
            method,
            path.format(quote(operation.target, safe="")),
            self._command_timeout_s,
            key=operation.key,
            body=None if operation.at_most is None else {"expectedCount": operation.at_most},
            begin_s=begin_s,
            not_after=operation.not_after,
        )
        if not _SURE_FROM <= answer.status < _SURE_BELOW:
            raise OutcomeUnknown(f"answered {answer.status}{_reason_suffix(answer)}")
        return _to_result(operation, answer) if answer.status < 300 else _to_refusal(operation, answer)

    def resolve_outcome(self, operation: Operation, asked_at: datetime) -> OperationResult | None:
        return _CALLS[operation.action].resolve(self, operation, asked_at)

    def verify_effect(self, operation: Operation, asked_at: datetime) -> bool:
        """Return whether `resolve_outcome` finds the effect: it reads the job, the queue or the instance itself."""
        said = self.resolve_outcome(operation, asked_at)
        return said is not None and said.outcome == "done"

    def select(self, wanted: JobFilter, limit: int) -> Selection:
        as_of = datetime.now(UTC)
        if wanted.older_than is not None:
            wanted = replace(wanted, older_than=self._to_service_clock(wanted.older_than))
        total, first = 0, list[str]()
        for page, _ in self._read_pages(wanted.state):
            found = [job.id for job in page.jobs if _matches(job, wanted)]
            total += len(found)
            first += found[: limit - len(first)]
        return Selection(as_of, total, tuple(first))

    def _resolve_retry(self, operation: Operation, asked_at: datetime) -> OperationResult | None:
        """A retry queues the job again, so its enqueue time must not be before the command."""
        answer = self._get_job(operation.target)
        if answer.status != 200:
            return _to_absent(answer)
        job = parse(JobAnswer, answer.json)
        if job.enqueued_at is None or job.enqueued_at < self._earliest_possible(asked_at):
            return None
        return OperationResult("done", f"It was queued again, and is {job.state} now.", {"state": job.state})

    def _resolve_delete(self, operation: Operation, _asked_at: datetime) -> OperationResult | None:
        answer = self._get_job(operation.target)
        if answer.status == 200:
            return None
        if answer.status == 410 and parse(GoneAnswer, answer.json).state.lower() in ("deleted", "removed"):
            return OperationResult("done", "It was deleted.", {"state": "deleted"})
        return _to_absent(answer)

    def _resolve_purge(self, operation: Operation, asked_at: datetime) -> OperationResult | None:
        """Check that nothing queued before the command is still queued. Whether the purge removed it is unknown."""
        before = self._earliest_possible(asked_at)
        for page, left_out in self._read_pages("queued"):
            mine = [job for job in page.jobs if job.queue in (operation.target, None)]
            if left_out.number or any(
                job.queue is None or job.enqueued_at is None or job.enqueued_at < before for job in mine
            ):
                return None
        return OperationResult("done", f"No job that was queued in {operation.target} before is queued any more.")

    def _resolve_restart(self, operation: Operation, asked_at: datetime) -> OperationResult | None:
        health = parse(HealthAnswer, self._http.get("/api/v1/health").json)
        if health.started_at is not None:  # the instance id that Beacon knew may be older than the previous run
            done = health.started_at >= self._earliest_possible(asked_at)
        else:
            done = (
                None not in (operation.instance_id, health.instance_id) and operation.instance_id != health.instance_id
            )
        if not done:
            return None
        return OperationResult("done", "It was restarted.", {"instanceId": health.instance_id})

    def _get_job(self, job_id: str) -> JsonResponse:
        return self._http.get(job_path(job_id), expect=JOB_STATUSES)

    def _read_pages(self, state: str) -> Iterator[tuple[WholePageAnswer, LeftOut]]:
        return BoundedReader(self._http, 0, self._read_timeout_s).read_pages(state, WholePageAnswer)

    def _earliest_possible(self, moment: datetime) -> datetime:
        return self._to_service_clock(moment) - MAX_CLOCK_DIFFERENCE

    def _to_service_clock(self, moment: datetime) -> datetime:
        """Convert a time of our clock to the service's clock."""
        if time.monotonic() >= self._compared_at + COMPARE_EVERY_S:
            counts = parse(CountsAnswer, self._http.get("/api/v1/jobs/counts").json)
            self._ahead = timedelta(0) if counts.as_of is None else counts.as_of - datetime.now(UTC)
            self._compared_at = time.monotonic()
        return moment + self._ahead


def _to_result(operation: Operation, answer: JsonResponse) -> OperationResult:
    try:
        return _CALLS[operation.action].parse(operation, {} if answer.status == 204 else answer.json)
    except SourceError as error:  # an answer that is not the API's does not prove that it was done
        raise OutcomeUnknown(error.reason) from error


def _parse_retried(_operation: Operation, body: Any) -> OperationResult:
    state = parse(JobAnswer, body).state
    return OperationResult("done", f"It is {state}.", {"state": state})


def _parse_deleted(_operation: Operation, body: Any) -> OperationResult:
    parse(RefusedAnswer, body)  # any object will do: the API does not define what describes a deleted job
    return OperationResult("done", "It was deleted.", {"state": "deleted"})


def _parse_purged(operation: Operation, body: Any) -> OperationResult:
    gone = parse(PurgedAnswer, body)
    effect = {"purged": gone.purged} | ({} if gone.job_ids is None else {"jobIds": gone.job_ids})
    return OperationResult("done", f"{gone.purged:,} jobs were purged from {operation.target}.", effect)


def _parse_restarted(_operation: Operation, body: Any) -> OperationResult:
    run = parse(HealthAnswer, body).instance_id
    return OperationResult("done", "It was restarted.", {} if run is None else {"instanceId": run})


class _Call(NamedTuple):
    """How the API is asked for one action, what the answer's body means, and how the outcome is found by reading."""

    method: str
    path: str
    parse: Callable[[Operation, Any], OperationResult]
    resolve: Callable[[PalantirCommands, Operation, datetime], OperationResult | None]


_CALLS: Mapping[ActionName, _Call] = {
    "retry-job": _Call("POST", "/api/v1/jobs/{}/retry", _parse_retried, PalantirCommands._resolve_retry),
    "delete-job": _Call("DELETE", "/api/v1/jobs/{}", _parse_deleted, PalantirCommands._resolve_delete),
    "purge-queue": _Call("POST", "/api/v1/queues/{}/purge", _parse_purged, PalantirCommands._resolve_purge),
    "restart-service": _Call("POST", "/api/v1/service/restart", _parse_restarted, PalantirCommands._resolve_restart),
}


def _to_refusal(operation: Operation, answer: JsonResponse) -> OperationResult:
    if answer.status in (404, 410) and _CALLS[operation.action].path.startswith("/api/v1/jobs/"):
        with suppress(SourceError):
            return _to_absent(answer)
    return OperationResult("refused", _describe_refusal(answer))


def _to_absent(answer: JsonResponse) -> OperationResult:
    if answer.status == 404:
        parse(RefusedAnswer, answer.json)  # a 404 from something other than the API says nothing about the job
        return OperationResult("absent", "This job does not exist and never did.")
    state = parse(GoneAnswer, answer.json).state
    return OperationResult("absent", f"The job is gone. Its last state was {state}.", {"state": state})


def _describe_refusal(answer: JsonResponse) -> str:
    if answer.status < 400:
        return f"It answered {answer.status}, a redirect, which Beacon does not follow."
    return _read_error(answer) or f"It answered {answer.status}."


def _reason_suffix(answer: JsonResponse) -> str:
    said = _read_error(answer)
    return f": {said}" if said else ""


def _read_error(answer: JsonResponse) -> str | None:
    try:
        return parse(RefusedAnswer, answer.json).error
    except SourceError:
        return None


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

"""Resolves a command's targets: as the service reports them now, and no more than the requester saw."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from app.commands import rejections
from app.commands.actions import SERVICE_LOCK, lock_key
from app.commands.request import CommandRequest
from app.config import current_settings
from app.db import read
from app.failures import queries as failures
from app.failures.grouping import describe_cause
from app.infra.clock import utc_text
from app.infra.problems import Problem, build_retry_after
from app.reconciliation import registry
from app.reconciliation.models import KnownJob
from app.sources.on_demand import TooManyRequests, TooSlow, query_source
from app.sources.protocol import JobFilter, Selection, Source, SourceError, Unsupported

MAX_ITEMS_PER_COMMAND = 5_000
IDS_PER_QUERY = 500
# Timestamps are truncated to whole seconds in transit, and synchronised clocks still differ slightly.
CLOCK_TOLERANCE = timedelta(seconds=1)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CommandTarget:
    """One item to act on. `lock_key`: what no other command may act on until this one ends. `queue`: if known."""

    target: str
    lock_key: str
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedScope:
    targets: tuple[CommandTarget, ...]
    summary: str
    at_most: int | None = None


def resolve_targets(request: CommandRequest) -> ResolvedScope:
    """Raises `CommandRejected`, or `Problem` if the service did not answer. Holds no database connection."""
    with read() as session:
        try:
            row = registry.find(session, request.service)
        except registry.ServiceNotFound:
            raise rejections.not_watched_error(request.service) from None
        why_not = registry.capabilities_of(row).why_not(request.action_type)
        if why_not is not None:
            raise rejections.unsupported_error(why_not)
        make = registry.source_maker(row, current_settings().job_list_bound)
    if request.action.scope == "service":
        return ResolvedScope((CommandTarget(request.service, SERVICE_LOCK),), request.summary)
    if request.action.scope == "queue":
        return _resolve_queue(request, make)
    if request.filter is not None and request.filter.group is not None:
        return _resolve_group(request, request.filter.group)
    if request.filter is not None:
        return _resolve_filter(request, make)
    ids = request.targets or [request.target or ""]
    return ResolvedScope(_job_targets(ids, _find_known_queues(request.service, ids)), request.summary)


def _resolve_queue(request: CommandRequest, make: Callable[[], Source]) -> ResolvedScope:
    queue = request.target or ""
    found = query_service(request.service, make, lambda source: source.select(JobFilter("queued", queue), 0))
    _check_growth(request, found.total)
    return ResolvedScope(
        (CommandTarget(queue, lock_key("queue", queue), queue),), queue, at_most=request.expected_count
    )


def _resolve_filter(request: CommandRequest, make: Callable[[], Source]) -> ResolvedScope:
    wanted = request.filter
    assert wanted is not None  # noqa: S101 -- the caller checked it
    which = JobFilter(wanted.state, wanted.queue, wanted.older_than)
    select = partial(_select_now_and_as_of, which=which, as_of=request.as_of)
    found, then = query_service(request.service, make, select)
    _check_growth(request, found.total)
    if found.total > len(found.job_ids):
        raise rejections.too_many_jobs_error(found.total, MAX_ITEMS_PER_COMMAND)
    if not then.job_ids:
        raise rejections.no_targets_error()
    queues: dict[str, str | None] = dict.fromkeys(then.job_ids, wanted.queue)
    if wanted.queue is None:
        queues = _find_known_queues(request.service, then.job_ids)
    return ResolvedScope(_job_targets(then.job_ids, queues), f"{then.total:,} {request.summary}")


def _resolve_group(request: CommandRequest, group_id: str) -> ResolvedScope:
    """The jobs that Beacon knows to have failed with this cause; the service refuses those that are not failed now."""
    seen = utc_text(request.as_of + CLOCK_TOLERANCE) if request.as_of is not None else None
    with read() as session:
        group = failures.find_group(session, group_id)
        if group is None or group.service_id != request.service or group.jobs == 0:
            raise rejections.no_targets_error()
        _check_growth(request, group.jobs)
        if group.jobs > MAX_ITEMS_PER_COMMAND:
            raise rejections.too_many_jobs_error(group.jobs, MAX_ITEMS_PER_COMMAND)
        ids = tuple(failures.list_job_ids(session, group_id, MAX_ITEMS_PER_COMMAND, seen))
        cause = describe_cause(group.function, group.error_type)
    if not ids:
        raise rejections.no_targets_error()
    return ResolvedScope(_job_targets(ids, {}), f"{len(ids):,} failed jobs: {cause}")


def _select_now_and_as_of(source: Source, which: JobFilter, as_of: datetime | None) -> tuple[Selection, Selection]:
    """The jobs that match now, and those of them that existed at `as_of`: others may have come and gone since."""
    found = source.select(which, MAX_ITEMS_PER_COMMAND)
    if as_of is None:
        return found, found
    seen = as_of + CLOCK_TOLERANCE
    earliest = seen if which.older_than is None else min(seen, which.older_than)
    try:
        return found, source.select(replace(which, older_than=earliest), MAX_ITEMS_PER_COMMAND)
    except Unsupported:
        return found, found


def _check_growth(request: CommandRequest, actual: int) -> None:
    if request.expected_count is not None and actual > request.expected_count and request.as_of is not None:
        raise rejections.count_grown_error(actual - request.expected_count, f"{request.as_of:%H:%M:%S}", actual)


def _job_targets(ids: list[str] | tuple[str, ...], queues: dict[str, str | None]) -> tuple[CommandTarget, ...]:
    return tuple(CommandTarget(job_id, lock_key("job", job_id), queues.get(job_id)) for job_id in ids)


def _find_known_queues(service_id: str, ids: list[str] | tuple[str, ...]) -> dict[str, str | None]:
    """The queues of these jobs, as far as Beacon knows them: a purge of these must not run at the same time."""
    found: dict[str, str | None] = {}
    with read() as session:
        for start in range(0, len(ids), IDS_PER_QUERY):
            mine = KnownJob.job_id.in_(ids[start : start + IDS_PER_QUERY])
            known = sa.select(KnownJob.job_id, KnownJob.queue).where(KnownJob.service_id == service_id, mine)
            found.update((job_id, queue) for job_id, queue in session.execute(known))
    return found


def query_service(
    service_id: str, make: Callable[[], Source], question: Callable[[Source], T], *, for_command: bool = True
) -> T:
    """`for_command`: an error then says that nothing was done. Otherwise the caller only wants to list jobs."""
    try:
        return query_source(make, question, service_id=service_id)
    except TooManyRequests:
        nothing = "Nothing was done; try" if for_command else "Try"
        detail = f"Too many requests to services are pending. {nothing} again in a moment."
        raise Problem(503, "Too busy", detail, headers=build_retry_after(1, 3)) from None
    except SourceError as error:
        status = 504 if isinstance(error, TooSlow) else 502
        nothing = ", so the targets of the command are unknown. Nothing was done" if for_command else ""
        raise Problem(status, "No answer", f"The service {error.reason}{nothing}.", reason="service") from None

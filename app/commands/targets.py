"""What a command will touch, thing by thing: as its service says it now, and no more than the person has seen."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

import sqlalchemy as sa

from app.commands import rejections
from app.commands.request import Asked
from app.config import current_settings
from app.db import read
from app.infra.problems import Problem, build_retry_after
from app.reconciliation import registry
from app.reconciliation.models import KnownJob
from app.sources.on_demand import TooMany, TooSlow, ask
from app.sources.protocol import CannotTell, Filter, Selection, Source, SourceError

MAX_ITEMS = 5_000
IDS_AT_ONCE = 500
# Times are cut to whole seconds on their way, and clocks that were put side by side still differ.
TOLD_LATER = timedelta(seconds=1)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing to act on. `hold`: what nobody else may act on meanwhile. `queue`: where it is, if that is known."""

    target: str
    hold: str
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    things: tuple[Thing, ...]
    words: str
    at_most: int | None = None


def resolve(asked: Asked) -> Scope:
    """Raises `Refused`, or `Problem` where the service had to be asked and did not answer. Holds no connection."""
    with read() as session:
        try:
            row = registry.find(session, asked.service)
        except registry.NotWatched:
            raise rejections.not_watched(asked.service) from None
        why_not = registry.capabilities_of(row).why_not(asked.action_type)
        if why_not is not None:
            raise rejections.cannot(why_not)
        make = registry.source_maker(row, current_settings().job_list_bound)
    if asked.action_type == "restart-service":
        return Scope((Thing(asked.service, "service"),), asked.words)
    if asked.action_type == "purge-queue":
        return _queue(asked, make)
    if asked.filter is not None:
        return _filtered(asked, make)
    ids = asked.targets or [asked.target or ""]
    return Scope(_jobs(ids, _queues(asked.service, ids)), asked.words)


def _queue(asked: Asked, make: Callable[[], Source]) -> Scope:
    queue = asked.target or ""
    found = asked_of(make, lambda source: source.select(Filter("queued", queue), 0))
    _check_growth(asked, found.total)
    return Scope((Thing(queue, f"queue:{queue}", queue),), queue, at_most=asked.expected_count)


def _filtered(asked: Asked, make: Callable[[], Source]) -> Scope:
    wanted = asked.filter
    assert wanted is not None  # noqa: S101 -- the caller has looked
    which = Filter(wanted.state, wanted.queue, wanted.older_than)
    found, then = asked_of(make, lambda source: _now_and_then(source, which, asked.as_of))
    _check_growth(asked, found.total)
    if found.total > len(found.job_ids):
        raise rejections.too_many_jobs(found.total, MAX_ITEMS)
    if not then.job_ids:
        raise rejections.nothing_there()
    queues: dict[str, str | None] = dict.fromkeys(then.job_ids, wanted.queue)
    if wanted.queue is None:
        queues = _queues(asked.service, then.job_ids)
    return Scope(_jobs(then.job_ids, queues), f"{then.total:,} {asked.words}")


def _now_and_then(source: Source, which: Filter, as_of: datetime | None) -> tuple[Selection, Selection]:
    """What there is now, and of it what the person can have seen: as many may have gone since then as have come."""
    found = source.select(which, MAX_ITEMS)
    if as_of is None:
        return found, found
    seen = as_of + TOLD_LATER
    earliest = seen if which.older_than is None else min(seen, which.older_than)
    try:
        return found, source.select(replace(which, older_than=earliest), MAX_ITEMS)
    except CannotTell:
        return found, found


def _check_growth(asked: Asked, actual: int) -> None:
    if asked.expected_count is not None and actual > asked.expected_count and asked.as_of is not None:
        raise rejections.grown(actual - asked.expected_count, f"{asked.as_of:%H:%M:%S}", actual)


def _jobs(ids: list[str] | tuple[str, ...], queues: dict[str, str | None]) -> tuple[Thing, ...]:
    return tuple(Thing(job_id, f"job:{job_id}", queues.get(job_id)) for job_id in ids)


def _queues(service_id: str, ids: list[str] | tuple[str, ...]) -> dict[str, str | None]:
    """As far as Beacon knows these jobs: a purge of their queue must not run beside them."""
    found: dict[str, str | None] = {}
    with read() as session:
        for start in range(0, len(ids), IDS_AT_ONCE):
            mine = KnownJob.job_id.in_(ids[start : start + IDS_AT_ONCE])
            known = sa.select(KnownJob.job_id, KnownJob.queue).where(KnownJob.service_id == service_id, mine)
            found.update((job_id, queue) for job_id, queue in session.execute(known))
    return found


def asked_of(make: Callable[[], Source], question: Callable[[Source], T], *, for_command: bool = True) -> T:
    """`for_command`: a command was given, which then does nothing; otherwise somebody wants to see a list."""
    try:
        return ask(make, question)
    except TooMany:
        nothing = "Nothing was done; try" if for_command else "Try"
        detail = f"Too many questions wait for their services just now. {nothing} again in a moment."
        raise Problem(503, "Too busy", detail, headers=build_retry_after(1, 3)) from None
    except SourceError as error:
        status = 504 if isinstance(error, TooSlow) else 502
        nothing = ", so nobody can tell what the command would touch. Nothing was done" if for_command else ""
        raise Problem(status, "No answer", f"The service {error.reason}{nothing}.", reason="service") from None

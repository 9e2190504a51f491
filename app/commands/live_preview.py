"""What stands at a service just now, for somebody who is about to act on it: counted, as of a time, with some of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.commands import rejections
from app.commands.models import CommandRow, ItemRow
from app.commands.targets import asked_of
from app.config import current_settings
from app.db import read
from app.infra.clock import utc_text
from app.reconciliation import registry
from app.reconciliation.models import KnownJob
from app.sources.protocol import JobFilter

# Jobs looked at for the names of their queues: whoever knows another one can type it.
QUEUE_JOBS = 5_000


@dataclass(frozen=True, slots=True)
class Seen:
    total: int
    as_of: str
    job_ids: tuple[str, ...]


def seen(service_id: str, state: str, queue: str | None, limit: int) -> Seen:
    """Asked of the service itself. Raises `Problem`; hold no database connection meanwhile."""
    with read() as session:
        try:
            row = registry.find(session, service_id)
        except registry.NotWatched:
            raise rejections.not_watched(service_id) from None
        make = registry.source_maker(row, current_settings().job_list_bound)
    found = asked_of(make, lambda source: source.select(JobFilter(state, queue), limit), for_command=False)
    return Seen(found.total, utc_text(found.as_of), found.job_ids)


def queues(session: Session, service_id: str) -> Sequence[str]:
    """The queues of jobs that Beacon knows, by name."""
    some = sa.select(KnownJob.queue).where(KnownJob.service_id == service_id).limit(QUEUE_JOBS).subquery()
    named = sa.select(some.c.queue).where(some.c.queue.is_not(None)).distinct().order_by(some.c.queue)
    return session.scalars(named).all()


def under_way(session: Session, service_id: str, job_ids: Collection[str]) -> Mapping[str, CommandRow]:
    """The command that is about to do something to each of these jobs."""
    if not job_ids:
        return {}
    holds = [f"job:{job_id}" for job_id in job_ids]
    held = sa.select(ItemRow.target, CommandRow).join(CommandRow, CommandRow.id == ItemRow.command_id)
    mine = held.where(ItemRow.service_id == service_id, ItemRow.held, ItemRow.hold.in_(holds))
    return {target: row for target, row in session.execute(mine)}  # noqa: C416 -- dict() loses the types

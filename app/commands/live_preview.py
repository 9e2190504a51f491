"""Lists the jobs a command would affect: total, time and sample, read from the service."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.commands import rejections
from app.commands.actions import lock_key
from app.commands.models import CommandRow, ItemRow
from app.commands.targets import query_service
from app.config import current_settings
from app.db import read
from app.failures import queries as failures
from app.infra.clock import utc_text
from app.reconciliation import registry
from app.reconciliation.models import KnownJob
from app.sources.protocol import JobFilter

# Jobs scanned for queue names. Users can type any other name.
MAX_JOBS_READ_FOR_QUEUES = 5_000


@dataclass(frozen=True, slots=True)
class JobPreview:
    total: int
    as_of: str
    job_ids: tuple[str, ...]


def preview_jobs(service_id: str, state: str, queue: str | None, limit: int) -> JobPreview:
    """Read from the service itself. Raises `Problem`. The caller must not hold a database connection."""
    with read() as session:
        try:
            row = registry.find(session, service_id)
        except registry.ServiceNotFound:
            raise rejections.not_watched_error(service_id) from None
        make = registry.source_maker(row, current_settings().job_list_bound)
    which = JobFilter(state, queue)
    found = query_service(service_id, make, lambda source: source.select(which, limit), for_command=False)
    return JobPreview(found.total, utc_text(found.as_of), found.job_ids)


def preview_group(session: Session, service_id: str, group_id: str, limit: int) -> JobPreview:
    """The failed jobs with one cause, as Beacon knows them."""
    group = failures.find_group(session, group_id)
    if group is None or group.service_id != service_id:
        return JobPreview(0, utc_text(), ())
    return JobPreview(group.jobs, utc_text(), tuple(failures.list_job_ids(session, group_id, limit)))


def list_queues(session: Session, service_id: str) -> Sequence[str]:
    """The queue names of known jobs, sorted."""
    some = sa.select(KnownJob.queue).where(KnownJob.service_id == service_id).limit(MAX_JOBS_READ_FOR_QUEUES).subquery()
    named = sa.select(some.c.queue).where(some.c.queue.is_not(None)).distinct().order_by(some.c.queue)
    return session.scalars(named).all()


def find_open_commands(session: Session, service_id: str, job_ids: Collection[str]) -> Mapping[str, CommandRow]:
    """The open command on each of these jobs, if there is one."""
    if not job_ids:
        return {}
    holds = [lock_key("job", job_id) for job_id in job_ids]
    held = sa.select(ItemRow.target, CommandRow).join(CommandRow, CommandRow.id == ItemRow.command_id)
    mine = held.where(ItemRow.service_id == service_id, ItemRow.held, ItemRow.hold.in_(holds))
    return {target: row for target, row in session.execute(mine)}  # noqa: C416 -- dict() loses the types

"""Fetches the stuck jobs of a service live, for a page that works without them."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.db import db
from app.infra.clock import utc_text
from app.reconciliation import registry
from app.reconciliation.models import Service
from app.sources.on_demand import TooManyRequests, query_source
from app.sources.protocol import SourceError, StuckJob


@dataclass(frozen=True, slots=True)
class StuckJobs:
    """`reason` says why there is no answer; `is_unsupported`: this kind of service cannot list them."""

    asked_at: str
    jobs: Sequence[StuckJob] = ()
    reason: str | None = None
    is_unsupported: bool = False


def fetch_stuck_jobs(row: Service, name: str, job_list_bound: int) -> StuckJobs:
    """Releases the database connection: do not use `row` afterwards."""
    asked_at = utc_text()
    why_not = registry.capabilities_of(row).why_not("stuck")
    if why_not is not None:
        return StuckJobs(asked_at, (), why_not, is_unsupported=True)
    make, service_id = registry.source_maker(row, job_list_bound), row.id
    db.session.remove()
    try:
        return StuckJobs(asked_at, query_source(make, lambda source: source.stuck(), service_id=service_id))
    except TooManyRequests:
        return StuckJobs(asked_at, (), "Too many requests are waiting for their services. Try again in a moment.")
    except SourceError as error:
        return StuckJobs(asked_at, (), f"{name} {error.reason}.")

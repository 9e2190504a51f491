"""The stuck jobs of a service as it tells them just now, for a page that goes on without them."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.db import db
from app.infra.clock import utc_text
from app.reconciliation import registry
from app.reconciliation.models import Service
from app.sources.on_demand import TooManyRequests, query_source
from app.sources.protocol import SourceError, StuckJob


@dataclass(frozen=True, slots=True)
class Told:
    """`reason` says why there is no answer; `refuses`: this kind of service cannot tell at all."""

    asked_at: str
    jobs: Sequence[StuckJob] = ()
    reason: str | None = None
    refuses: bool = False


def stuck_jobs(row: Service, name: str, job_list_bound: int) -> Told:
    """Gives up the database's connection; whoever calls wants nothing more of `row`."""
    asked_at = utc_text()
    why_not = registry.capabilities_of(row).why_not("stuck")
    if why_not is not None:
        return Told(asked_at, (), why_not, refuses=True)
    make, service_id = registry.source_maker(row, job_list_bound), row.id
    db.session.remove()
    try:
        return Told(asked_at, query_source(make, lambda source: source.stuck(), service_id=service_id))
    except TooManyRequests:
        return Told(asked_at, (), "Too many questions wait for their services just now.")
    except SourceError as error:
        return Told(asked_at, (), f"{name} {error.reason}.")

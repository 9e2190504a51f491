"""Finds scheduled jobs of a Palantir HTTP job service whose time has passed without their start. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.infra.clock import parse_utc
from app.sources.protocol import Anomaly, Listing

SCHEDULED = "scheduled"
# A service that checks its clock rarely, or between two requests of a poll, is not late.
OVERDUE_AFTER = timedelta(seconds=60)


def parse_due_times(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, datetime]]:
    """The jobs that say for when they are scheduled."""
    for row in rows:
        given = row.get("scheduledFor")
        if isinstance(given, str):
            try:
                yield row["id"], parse_utc(given)
            except ValueError:
                continue


def find_anomaly(due: Mapping[str, datetime], listings: Sequence[Listing], now: datetime) -> tuple[Anomaly, ...]:
    """One anomaly with the oldest due time, or none. `due`: when scheduled jobs should start.

    `now` is the time by the service's own clock. A job in a later list has moved on while the lists were read.
    """
    moved = [listing.jobs for listing in listings if listing.state.lower() != SCHEDULED]
    late = {job_id: at for job_id, at in due.items() if now - at > OVERDUE_AFTER}
    late = {job_id: at for job_id, at in late.items() if not any(job_id in jobs for jobs in moved)}
    return (Anomaly.overdue(late, min(late.values()).timestamp(), ""),) if late else ()

"""A service whose jobs fail, and the polls that follow them."""

from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from app.db import read
from app.failures import failure_store
from app.failures.models import FailedJob, FailureGroup
from app.failures.tracker import FailureTracker
from app.infra.lease import LeaseClaim
from app.reconciliation.observer import WatchedService
from app.sources.protocol import Job, JobDetail, JobError, Listing, ReadOnlySource, ServiceSnapshot, SourceError

SERVICE = "mail"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Failing(ReadOnlySource):
    """A source with these failed jobs."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobDetail] = {}
        self.asked: list[list[str]] = []
        self.is_silent, self.poison = False, ""

    def fail(
        self, job_id: str, kind: str = "KeyError", message: str = "'a'", hour: int = 12, ended: datetime | None = None
    ) -> None:
        ended = ended or NOON.replace(hour=hour)
        job = Job(job_id, "failed", "out", 1)
        self.jobs[job_id] = JobDetail(job, function="mail.send", error=JobError(kind, message), ended_at=ended)

    def read_facts(self, job_ids: Sequence[str]) -> dict[str, JobDetail]:
        self.asked.append(list(job_ids))
        if self.is_silent or self.poison in job_ids:
            raise SourceError("answered with lists of more than 10,000 entries")
        return {job_id: self.jobs[job_id] for job_id in job_ids if job_id in self.jobs}

    def snapshot(self, *, complete: bool = True, **more: object) -> ServiceSnapshot:
        jobs = {job_id: detail.job for job_id, detail in self.jobs.items()}
        return ServiceSnapshot({}, (Listing("failed", True, jobs, complete),), 1, **more)  # type: ignore[arg-type]


class Poll:
    def __init__(self, claim: LeaseClaim, source: Failing) -> None:
        self.claim, self.source, self.tracker = claim, source, FailureTracker()

    def __call__(self, **options: object) -> None:
        service = WatchedService(SERVICE, self.source)  # type: ignore[arg-type]
        self.tracker.follow(self.claim, service, self.source.snapshot(**options))  # type: ignore[arg-type]

    def groups(self) -> dict[str, int]:
        """The number of jobs that are failed now, by type of error."""
        with read() as session:
            return {group.error_type or "": group.jobs for group in session.scalars(sa.select(FailureGroup))}

    def row(self, job_id: str) -> FailedJob:
        with read() as session:
            found = session.get(FailedJob, (SERVICE, job_id))
        assert found is not None
        return found

    def unread(self) -> int:
        with read() as session:
            return failure_store.count_unread(session, SERVICE)

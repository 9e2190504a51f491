"""What else says that a job has ended: published events; commands join from outside, with a class of their own."""

import json
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.eventlog import reader as log
from app.eventlog.models import EventRow
from app.infra import concurrency
from app.infra.clock import utc_text

ENDED = ("job.finished", "job.failed")
# A job that is queued again after its end has not ended.
AGAIN = "job.queued"
# A job may be published as finished just before a look that still shows it as running.
SLACK = timedelta(seconds=10)
WINDOW = 1_000
# How far back the log is read, whatever was published since: 100,000 events.
MAX_WINDOWS = 100


class Explains(Protocol):
    """One kind of explanation why known jobs are gone."""

    def ended(self, session: Session, service_id: str, job_ids: Collection[str], since: datetime) -> set[str]:
        """Those of `job_ids` that ended, for all that is known of the time after `since`."""
        ...


@runtime_checkable
class ExplainsFalls(Protocol):
    """What removes jobs in great numbers, without the id of each."""

    def has_removed_many(self, session: Session, service_id: str, since: datetime) -> bool:
        """Whether that happened after `since`, or may have."""
        ...


def is_fall_explained(session: Session, explains: Sequence[Explains], service_id: str, since: datetime) -> bool:
    falls = (one for one in explains if isinstance(one, ExplainsFalls))
    return any(one.has_removed_many(session, service_id, since) for one in falls)


class PublishedEvents:
    """`job.finished` and `job.failed` in the log: a job that failed has not vanished either."""

    def ended(self, session: Session, service_id: str, job_ids: Collection[str], since: datetime) -> set[str]:
        told, found = set[str](), set[str]()
        for kind, text in _published(session, utc_text(since - SLACK)):
            job_id = _job_id(text, service_id)
            if job_id is not None and job_id in job_ids and job_id not in told:
                told.add(job_id)  # what was published last counts
                if kind != AGAIN:
                    found.add(job_id)
        return found


def explained(
    session: Session, explains: Sequence[Explains], service_id: str, job_ids: Collection[str], since: datetime
) -> frozenset[str]:
    if not job_ids:
        return frozenset()
    return frozenset().union(*(one.ended(session, service_id, job_ids, since) for one in explains))


def _published(session: Session, since: str) -> Iterator[tuple[str, str]]:
    """Type and payload, the newest first, read backwards in windows of ids: neither type nor time has an index."""
    end = log.head(session)
    for _ in range(MAX_WINDOWS):
        start = end - WINDOW
        window = sa.select(EventRow.type, EventRow.data_json).where(EventRow.id > start, EventRow.id <= end)
        said = window.where(EventRow.type.in_((*ENDED, AGAIN)), EventRow.created_at >= since)
        yield from ((kind, text) for kind, text in session.execute(said.order_by(EventRow.id.desc())))
        oldest = sa.select(EventRow.created_at).where(EventRow.id > start, EventRow.id <= end)
        first = session.scalar(oldest.order_by(EventRow.id).limit(1))
        if start <= 0 or (first is not None and first < since):
            return
        end = start
        concurrency.yield_to_loop()


def _job_id(text: str, service_id: str) -> str | None:
    """Any program may write to the log: what cannot be read explains nothing."""
    try:
        data = json.loads(text)
    except ValueError:
        return None
    if not isinstance(data, dict) or data.get("service") != service_id:
        return None
    job_id = data.get("jobId")
    return job_id if isinstance(job_id, str) else None

"""Explains why jobs have ended: by published events. Commands add an explainer of their own."""

import json
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.eventlog import reader as log
from app.eventlog.models import EventRow
from app.infra.clock import utc_text

END_EVENT_TYPES = ("job.finished", "job.failed")
# A job that is queued again after its end has not ended.
REQUEUE_EVENT_TYPE = "job.queued"
# A job may be published as finished just before a snapshot that still shows it as running.
EVENT_SLACK = timedelta(seconds=10)
EVENTS_PER_WINDOW = 1_000
# How far back the log is read, whatever was published since: 100,000 events.
MAX_WINDOWS = 100


class Explainer(Protocol):
    """One kind of explanation for vanished jobs."""

    def find_ended(self, session: Session, service_id: str, job_ids: Collection[str], since: datetime) -> set[str]:
        """Those of `job_ids` that ended after `since`, as far as is known."""
        ...


@runtime_checkable
class BulkRemovalExplainer(Protocol):
    """Explains removals of many jobs whose ids may be unknown."""

    def has_removed_many(self, session: Session, service_id: str, since: datetime) -> bool:
        """True if that happened after `since`, or may have happened."""
        ...


def is_fall_explained(session: Session, explains: Sequence[Explainer], service_id: str, since: datetime) -> bool:
    falls = (one for one in explains if isinstance(one, BulkRemovalExplainer))
    return any(one.has_removed_many(session, service_id, since) for one in falls)


class EventExplainer:
    """`job.finished` and `job.failed` in the log: a failed job has not vanished either."""

    def find_ended(self, session: Session, service_id: str, job_ids: Collection[str], since: datetime) -> set[str]:
        handled, found = set[str](), set[str]()
        for kind, text in _read_published(session, utc_text(since - EVENT_SLACK)):
            job_id = _parse_job_id(text, service_id)
            if job_id is not None and job_id in job_ids and job_id not in handled:
                handled.add(job_id)  # the newest event counts
                if kind != REQUEUE_EVENT_TYPE:
                    found.add(job_id)
        return found


def find_explained(
    session: Session, explains: Sequence[Explainer], service_id: str, job_ids: Collection[str], since: datetime
) -> frozenset[str]:
    if not job_ids:
        return frozenset()
    return frozenset().union(*(one.find_ended(session, service_id, job_ids, since) for one in explains))


def _read_published(session: Session, since: str) -> Iterator[tuple[str, str]]:
    """Type and payload, newest first, read backwards in windows of ids: neither type nor time has an index."""
    end = log.head(session)
    for _ in range(MAX_WINDOWS):
        start = end - EVENTS_PER_WINDOW
        window = sa.select(EventRow.type, EventRow.data_json).where(EventRow.id > start, EventRow.id <= end)
        said = window.where(EventRow.type.in_((*END_EVENT_TYPES, REQUEUE_EVENT_TYPE)), EventRow.created_at >= since)
        yield from ((kind, text) for kind, text in session.execute(said.order_by(EventRow.id.desc())))
        oldest = sa.select(EventRow.created_at).where(EventRow.id > start, EventRow.id <= end)
        first = session.scalar(oldest.order_by(EventRow.id).limit(1))
        if start <= 0 or (first is not None and first < since):
            return
        end = start


def _parse_job_id(text: str, service_id: str) -> str | None:
    """Any program may write to the log: events that cannot be read explain nothing."""
    try:
        data = json.loads(text)
    except ValueError:
        return None
    if not isinstance(data, dict) or data.get("service") != service_id:
        return None
    job_id = data.get("jobId")
    return job_id if isinstance(job_id, str) else None

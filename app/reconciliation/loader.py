"""Loads the known state of a service from its rows."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import now_epoch, read
from app.eventlog.event_types import ReconciliationUpdate
from app.infra.clock import parse_utc, utc_text
from app.reconciliation import flapping, row_memory
from app.reconciliation.known_state import ItemKey, ItemKind, KnownState, TrackedItem
from app.reconciliation.models import KnownJob, OpenItem, ServiceState
from app.sources.protocol import Job

# Rows fetched at once; the streams of this process wait for that long.
ROWS_PER_PAGE = 1_000
DATABASE_TIME_MAX_AGE_MS = 1_000
_KINDS: dict[str, ItemKind] = {"missing": "missing", "extra": "extra"}


# Columns, not classes: the mapper would double the cost.
_job = KnownJob.__table__.c
_item = OpenItem.__table__.c
_ITEM = (_item.job_id, _item.kind, _item.since, _item.last_state, _item.queue)


class KnownJobs(NamedTuple):
    """The known jobs of a service, when each unseen one was last seen, and which were published as ended."""

    jobs: dict[str, Job]
    unseen: Mapping[str, datetime]
    ended: Mapping[str, int]


NO_KNOWN_JOBS = KnownJobs({}, {}, {})


def database_now(session: Session) -> datetime:
    """The clock that all processes share: times of jobs may have been written on another host."""
    return datetime.fromtimestamp(session.execute(sa.select(now_epoch())).scalar_one(), UTC)


class DatabaseTime:
    """The database's clock, read once a second for all services and carried on by the monotonic clock."""

    def __init__(self) -> None:
        self._asked: MonotonicClock | None = None

    def now(self) -> datetime:
        asked = self._asked
        if asked is None or asked.waited_ms >= DATABASE_TIME_MAX_AGE_MS:
            with read() as session:
                asked = self._asked = MonotonicClock(database_now(session))
        return asked.now()


class MonotonicClock:
    """A moment that the monotonic clock carries on: it never goes back."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._monotonic = time.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=time.monotonic() - self._monotonic)

    @property
    def waited_ms(self) -> int:
        return round((time.monotonic() - self._monotonic) * 1000)


def load_known_state(
    session: Session,
    service_id: str,
    row: ServiceState | None,
    jobs: KnownJobs = NO_KNOWN_JOBS,
    items: Mapping[ItemKey, TrackedItem] | None = None,
) -> KnownState:
    """Everything known of the service. Omit `jobs` for verdicts that need none (silence, acceptance)."""
    items = load_open_items(session, service_id) if items is None else items
    if row is None:
        return KnownState(*jobs, items=items)
    flaps = flapping.load_flaps(row.flapping_json)
    return KnownState(
        *jobs,
        log_cursor=row.log_cursor,
        flaps=flaps,
        alerted_items=_load_alerted_items(session, service_id, flaps.since) if flaps.since else frozenset(),
        heard_at=parse_moment(row.heard_at),
        instance_id=row.instance_id,
        as_of=parse_moment(row.as_of),
        items=items,
        last_published=ReconciliationUpdate.model_validate_json(row.payload_json) if row.payload_json else None,
        last_verified_at=parse_moment(row.last_verified_at),
        cut_since=row_memory.load_cut_since(row),
        unserved_since=row_memory.load_unserved_since(row),
        figures=row_memory.load_figures(row),
        loss=row_memory.load_loss(row),
    )


def load_known_jobs(session: Session, service_id: str) -> KnownJobs:
    """Read in pages: all rows at once would take the memory of another table of jobs."""
    jobs: dict[str, Job] = {}
    unseen: dict[str, datetime] = {}
    ended: dict[str, int] = {}
    columns = (_job.job_id, _job.state, _job.queue, _job.attempt, _job.kept_s, _job.seen_at, _job.ended_id)
    after = ""
    while True:
        page = sa.select(*columns).where(_job.service_id == service_id, _job.job_id > after)
        rows = session.execute(page.order_by(_job.job_id).limit(ROWS_PER_PAGE)).all()
        for job_id, state, queue, attempt, kept_s, seen_at, ended_id in rows:
            jobs[job_id] = Job(job_id, state, queue, attempt, kept_s)
            if seen_at is not None:
                unseen[job_id] = parse_utc(seen_at)
            if ended_id is not None:
                ended[job_id] = ended_id
        if len(rows) < ROWS_PER_PAGE:
            return KnownJobs(jobs, unseen, ended)
        after = rows[-1].job_id


def load_open_items(session: Session, service_id: str) -> dict[ItemKey, TrackedItem]:
    """Read columns, not objects, in parts: after a great loss there are as many items as there were jobs."""
    items: dict[ItemKey, TrackedItem] = {}
    mine = sa.select(*_ITEM).where(_item.service_id == service_id, _item.closed_at.is_(None))
    with session.execute(mine.order_by(_item.job_id, _item.kind)) as rows:
        for part in rows.partitions(ROWS_PER_PAGE):
            found = (_to_item(row) for row in part)
            items.update((item.key, item) for item in found)
    return items


def parse_moment(text: str | None) -> datetime | None:
    return None if text is None else parse_utc(text)


def _to_item(row: sa.Row[*tuple[Any, ...]]) -> TrackedItem:
    kind = _KINDS.get(row.kind, "unaccounted")
    return TrackedItem(row.job_id, kind, parse_utc(row.since), row.last_state, row.queue)


def _load_alerted_items(session: Session, service_id: str, since: datetime) -> frozenset[ItemKey]:
    """The items declared since the service began to flap: declaring them again is not published again."""
    declared = sa.select(_item.job_id, _item.kind).where(
        _item.service_id == service_id, _item.kind.in_(sorted(_KINDS)), _item.since >= utc_text(since)
    )
    return frozenset((job_id, _KINDS[kind]) for job_id, kind in session.execute(declared.distinct()))

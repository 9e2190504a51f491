"""What is known of a service, from its rows."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import now_epoch, read
from app.eventlog.event_types import ReconciliationUpdate
from app.infra import concurrency
from app.infra.clock import parse_utc, utc_text
from app.reconciliation import flapping, row_memory
from app.reconciliation.models import KnownJob, OpenItem, ServiceState
from app.reconciliation.types import Item, ItemKey, ItemKind, Known, no_pause
from app.sources.protocol import Job

# Rows fetched in one go, which is what the streams of this process wait for.
PAGE = 1_000
ASKED_EVERY_MS = 1_000
_KINDS: dict[str, ItemKind] = {"missing": "missing", "extra": "extra"}


# Columns and not classes: the mapper's part would cost as much again.
_job = KnownJob.__table__.c
_item = OpenItem.__table__.c
_ITEM = (_item.job_id, _item.kind, _item.since, _item.last_state, _item.queue)


class Jobs(NamedTuple):
    """The known jobs of a service, when each of the unseen was seen, and which were published as ended."""

    jobs: dict[str, Job]
    unseen: Mapping[str, datetime]
    ended: Mapping[str, int]


NO_JOBS = Jobs({}, {}, {})


def database_now(session: Session) -> datetime:
    """The one clock that all processes share: when a job was seen may have been written on another host."""
    return datetime.fromtimestamp(session.execute(sa.select(now_epoch())).scalar_one(), UTC)


class DatabaseTime:
    """That clock, asked once a second for all services and carried on by this machine's monotonic one."""

    def __init__(self) -> None:
        self._asked: Clock | None = None

    def now(self) -> datetime:
        asked = self._asked
        if asked is None or asked.waited_ms >= ASKED_EVERY_MS:
            with read() as session:
                asked = self._asked = Clock(database_now(session))
        return asked.now()


class Clock:
    """A moment, carried on by the monotonic clock: it never goes back."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._monotonic = time.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=time.monotonic() - self._monotonic)

    @property
    def waited_ms(self) -> int:
        return round((time.monotonic() - self._monotonic) * 1000)


def known_of(
    session: Session,
    service_id: str,
    row: ServiceState | None,
    jobs: Jobs = NO_JOBS,
    items: Mapping[ItemKey, Item] | None = None,
    breathe: Callable[[], None] = no_pause,
) -> Known:
    """Everything known of the service. Without `jobs`: for verdicts that look at none (silence, acceptance)."""
    items = open_items(session, service_id, breathe) if items is None else items
    if row is None:
        return Known(*jobs, items=items)
    flaps = flapping.from_text(row.flapping_json)
    return Known(
        *jobs,
        log_cursor=row.log_cursor,
        flaps=flaps,
        named=_named(session, service_id, flaps.since) if flaps.since else frozenset(),
        heard_at=moment(row.heard_at),
        instance_id=row.instance_id,
        as_of=moment(row.as_of),
        items=items,
        told=ReconciliationUpdate.model_validate_json(row.payload_json) if row.payload_json else None,
        last_verified_at=moment(row.last_verified_at),
        cut_since=row_memory.cut_of(row),
        unserved_since=row_memory.unserved_of(row),
        figures=row_memory.figures_of(row),
        loss=row_memory.loss_of(row),
    )


def known_jobs(session: Session, service_id: str, breathe: Callable[[], None] = concurrency.yield_to_loop) -> Jobs:
    """Read in pages: a fetch of all rows at once would stop the streams of this process."""
    jobs: dict[str, Job] = {}
    unseen: dict[str, datetime] = {}
    ended: dict[str, int] = {}
    columns = (_job.job_id, _job.state, _job.queue, _job.attempt, _job.kept_s, _job.seen_at, _job.ended_id)
    after = ""
    while True:
        page = sa.select(*columns).where(_job.service_id == service_id, _job.job_id > after)
        rows = session.execute(page.order_by(_job.job_id).limit(PAGE)).all()
        for job_id, state, queue, attempt, kept_s, seen_at, ended_id in rows:
            jobs[job_id] = Job(job_id, state, queue, attempt, kept_s)
            if seen_at is not None:
                unseen[job_id] = parse_utc(seen_at)
            if ended_id is not None:
                ended[job_id] = ended_id
        if len(rows) < PAGE:
            return Jobs(jobs, unseen, ended)
        after = rows[-1].job_id
        breathe()


def open_items(session: Session, service_id: str, breathe: Callable[[], None] = no_pause) -> dict[ItemKey, Item]:
    """Columns and no objects, in parts: after a great loss there are as many as there were jobs."""
    items: dict[ItemKey, Item] = {}
    mine = sa.select(*_ITEM).where(_item.service_id == service_id, _item.closed_at.is_(None))
    with session.execute(mine.order_by(_item.job_id, _item.kind)) as rows:
        for part in rows.partitions(PAGE):
            found = (_read(row) for row in part)
            items.update((item.key, item) for item in found)
            breathe()
    return items


def moment(text: str | None) -> datetime | None:
    return None if text is None else parse_utc(text)


def _read(row: sa.Row[*tuple[Any, ...]]) -> Item:
    kind = _KINDS.get(row.kind, "unaccounted")
    return Item(row.job_id, kind, parse_utc(row.since), row.last_state, row.queue)


def _named(session: Session, service_id: str, since: datetime) -> frozenset[ItemKey]:
    """What was declared since the service began to flap: seen again, it is no news."""
    told = sa.select(_item.job_id, _item.kind).where(
        _item.service_id == service_id, _item.kind.in_(sorted(_KINDS)), _item.since >= utc_text(since)
    )
    return frozenset((job_id, _KINDS[kind]) for job_id, kind in session.execute(told.distinct()))

"""What is known of a service, from its rows."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import offloop
from app.clock import parse_utc
from app.db import now_epoch
from app.eventlog.payloads import ReconciliationUpdate
from app.reconciliation.models import KnownJob, OpenItem, ServiceState
from app.reconciliation.state import Item, ItemKey, ItemKind, Known
from app.sources.base import Job

PAGE = 2_000


def database_now(session: Session) -> datetime:
    """The one clock that all processes share: when a job was seen may have been written on another host."""
    return datetime.fromtimestamp(session.execute(sa.select(now_epoch())).scalar_one(), UTC)


def known_of(
    session: Session,
    service_id: str,
    row: ServiceState | None,
    jobs: Mapping[str, Job] | None = None,
    unseen: Mapping[str, datetime] | None = None,
) -> Known:
    """Everything known of the service. Without `jobs`: for verdicts that look at none (silence, acceptance)."""
    items = open_items(session, service_id)
    if row is None:
        return Known(jobs=jobs or {}, unseen=unseen or {}, items=items)
    return Known(
        jobs=jobs or {},
        unseen=unseen or {},
        heard_at=moment(row.heard_at),
        instance_id=row.instance_id,
        as_of=moment(row.as_of),
        items=items,
        told=ReconciliationUpdate.model_validate_json(row.payload_json) if row.payload_json else None,
        last_verified_at=moment(row.last_verified_at),
    )


def known_jobs(
    session: Session, service_id: str, breathe: Callable[[], None] = offloop.breathe
) -> tuple[dict[str, Job], dict[str, datetime]]:
    """Read in pages: a fetch of all rows at once would stop the streams of this process."""
    jobs: dict[str, Job] = {}
    unseen: dict[str, datetime] = {}
    columns = (KnownJob.job_id, KnownJob.state, KnownJob.queue, KnownJob.attempt, KnownJob.seen_at)
    after = ""
    while True:
        page = sa.select(*columns).where(KnownJob.service_id == service_id, KnownJob.job_id > after)
        rows = session.execute(page.order_by(KnownJob.job_id).limit(PAGE)).all()
        for job_id, state, queue, attempt, seen_at in rows:
            jobs[job_id] = Job(job_id, state, queue, attempt)
            if seen_at is not None:
                unseen[job_id] = parse_utc(seen_at)
        if len(rows) < PAGE:
            return jobs, unseen
        after = rows[-1].job_id
        breathe()


def open_items(session: Session, service_id: str) -> dict[ItemKey, Item]:
    rows = session.scalars(sa.select(OpenItem).where(OpenItem.service_id == service_id, OpenItem.closed_at.is_(None)))
    items = (_item(row) for row in rows)
    return {item.key: item for item in items}


def moment(text: str | None) -> datetime | None:
    return None if text is None else parse_utc(text)


def _item(row: OpenItem) -> Item:
    kind: ItemKind = "missing" if row.kind == "missing" else "unaccounted"
    return Item(row.job_id, kind, parse_utc(row.since), row.last_state, row.queue)

"""Queries for the page of a service: its open items up to a limit, and known jobs by id."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.reconciliation.models import KnownJob, OpenItem


@dataclass(frozen=True, slots=True)
class OpenItemList:
    """`shown` are at most as many as the limit. `numbers` count all open items by kind."""

    shown: Sequence[OpenItem]
    numbers: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.numbers.values())


def list_open_items(session: Session, service_id: str, limit: int) -> OpenItemList:
    """Missing jobs first, then extra ones, then unaccounted ones; each kind oldest first."""
    mine = (OpenItem.service_id == service_id, OpenItem.closed_at.is_(None))
    count = sa.select(OpenItem.kind, sa.func.count()).where(*mine).group_by(OpenItem.kind)
    numbers = dict(session.execute(count).all())
    order = sa.case((OpenItem.kind == "missing", 0), (OpenItem.kind == "extra", 1), else_=2)
    query = sa.select(OpenItem).where(*mine).order_by(order, OpenItem.since, OpenItem.job_id)
    return OpenItemList(session.scalars(query.limit(limit)).all() if numbers else [], numbers)


def find_known_jobs(session: Session, service_id: str, job_ids: Collection[str]) -> Mapping[str, KnownJob]:
    if not job_ids:
        return {}
    query = sa.select(KnownJob).where(KnownJob.service_id == service_id, KnownJob.job_id.in_(job_ids))
    return {row.job_id: row for row in session.scalars(query)}

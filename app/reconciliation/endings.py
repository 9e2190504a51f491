"""How what was wrong came to its end: what the next look said, and who accepted it with which reason."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.reconciliation.models import DiscrepancyEvent, OpenItem, Service


@dataclass(frozen=True, slots=True)
class Ending:
    """When something ended, and what was then: the next state, `gone` with its service, or `closed`."""

    at: str
    status: str


@dataclass(frozen=True, slots=True)
class Closing:
    """Items that were closed alike."""

    kind: str
    how: str
    number: int
    by: str | None = None
    reason: str | None = None


def endings(session: Session, ids: Sequence[str]) -> dict[str, Ending]:
    """By id, the row that followed it; rows of the record that nothing has followed are not in it."""
    later, row = aliased(DiscrepancyEvent), DiscrepancyEvent
    following = (
        sa.select(later.id)
        .where(later.service == row.service, sa.tuple_(later.timestamp, later.id) > sa.tuple_(row.timestamp, row.id))
        .order_by(later.timestamp, later.id)
        .limit(1)
        .correlate(row)
        .scalar_subquery()
    )
    pairs = [
        (one, other) for one, other in session.execute(sa.select(row.id, following).where(row.id.in_(ids))) if other
    ]
    said = sa.select(row.id, row.timestamp, row.status).where(row.id.in_([other for _, other in pairs]))
    found = {one: Ending(at, status) for one, at, status in session.execute(said)}
    return {one: found[other] for one, other in pairs}


def removals(session: Session, services: Collection[str]) -> dict[str, Ending]:
    """The services of these that are no longer watched."""
    query = sa.select(Service.id, Service.removed_at).where(Service.id.in_(services), Service.removed_at.is_not(None))
    return {service: Ending(at, "gone") for service, at in session.execute(query) if at is not None}


def closings(session: Session, moments: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[Closing, ...]]:
    """By service and moment: what was closed just then, which is what the row of that moment came from."""
    if not moments:
        return {}
    found: dict[tuple[str, str], tuple[Closing, ...]] = {}
    # One condition each: SQLite uses no index for a list of pairs.
    at_once = sa.or_(*(sa.and_(OpenItem.service_id == one, OpenItem.closed_at == at) for one, at in sorted(moments)))
    columns = (OpenItem.service_id, OpenItem.closed_at)
    for service, at, *one in session.execute(_alike(columns, at_once, OpenItem.kind != "unaccounted")):
        if at is not None:
            found[service, at] = (*found.get((service, at), ()), Closing(*one))
    return found


def group_closings(session: Session, service: str, since: str) -> tuple[int, str | None, tuple[Closing, ...]]:
    """Jobs that one look found unaccounted for: how many, when the last was closed (None while one is open), how."""
    mine = (OpenItem.kind == "unaccounted", OpenItem.since == since, OpenItem.service_id == service)
    figures = sa.select(sa.func.count(), sa.func.count(OpenItem.closed_at), sa.func.max(OpenItem.closed_at))
    number, closed, last = session.execute(figures.where(*mine)).one()
    done = tuple(Closing(*one) for one in session.execute(_alike((), *mine, OpenItem.closed_at.is_not(None))))
    return number, last if number == closed else None, done


def _alike(columns: tuple[Any, ...], *wanted: sa.ColumnElement[bool]) -> sa.Select[Any]:
    alike = (OpenItem.kind, OpenItem.closed_how)
    who = (OpenItem.closed_by, OpenItem.close_reason)
    query = sa.select(*columns, *alike, sa.func.count(), *who).where(*wanted)
    return query.group_by(*columns, *alike, *who).order_by(*columns, *alike)

"""Reads how incidents ended: by the next state, or by operators who accepted items with a reason."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.infra.concurrency import iterate_in_slices, yield_to_loop
from app.reconciliation.models import DiscrepancyEvent, OpenItem, Service


@dataclass(frozen=True, slots=True)
class IncidentEnd:
    """When an incident ended, and how: the next state, `gone` with its service, or `closed`."""

    at: str
    status: str


@dataclass(frozen=True, slots=True)
class ItemClosure:
    """A number of items that were closed in the same way."""

    kind: str
    how: str
    number: int
    by: str | None = None
    reason: str | None = None


# Service, start and end; an end of None means that it is open.
IncidentSpan = tuple[str, str, str | None]


def find_ends(session: Session, ids: Sequence[str]) -> dict[str, IncidentEnd]:
    """By id of an episode's first row, the row that ended it. Open episodes are left out.

    Silence does not end a discrepancy, and rows that continue an episode do not end it.
    """
    later, row = aliased(DiscrepancyEvent), DiscrepancyEvent
    answered = later.status != "stale"
    ends = sa.or_(row.status == "verified", sa.and_(answered, sa.func.coalesce(later.episode, "") != row.id))
    following = (
        sa.select(later.id)
        .where(later.service == row.service, sa.tuple_(later.timestamp, later.id) > sa.tuple_(row.timestamp, row.id))
        .where(ends)
        .order_by(later.timestamp, later.id)
        .limit(1)
        .correlate(row)
        .scalar_subquery()
    )
    pairs = [
        (one, other) for one, other in session.execute(sa.select(row.id, following).where(row.id.in_(ids))) if other
    ]
    said = sa.select(row.id, row.timestamp, row.status).where(row.id.in_([other for _, other in pairs]))
    found = {one: IncidentEnd(at, status) for one, at, status in session.execute(said)}
    return {one: found[other] for one, other in pairs}


def find_removed_services(session: Session, services: Collection[str]) -> dict[str, IncidentEnd]:
    """Those of the services that are no longer watched, each with its removal."""
    query = sa.select(Service.id, Service.removed_at).where(Service.id.in_(services), Service.removed_at.is_not(None))
    return {service: IncidentEnd(at, "gone") for service, at in session.execute(query) if at is not None}


def find_item_closures(session: Session, spans: Mapping[str, IncidentSpan]) -> Mapping[str, tuple[ItemClosure, ...]]:
    """By key of a span: the items that were closed in it. Its end is included."""
    if not spans:
        return {}
    # One condition each: SQLite uses no index for a list of tuples.
    within = sa.or_(*(_closed_within(span) for span in sorted(set(spans.values()), key=str)))
    columns = (OpenItem.service_id, OpenItem.closed_at)
    found: dict[str, dict[tuple[Any, ...], int]] = {}
    for service, at, kind, how, number, by, reason in session.execute(
        _count_alike(columns, within, OpenItem.kind != "unaccounted")
    ):
        for key, (of, start, end) in spans.items():
            if of == service and start < at and (end is None or at <= end):
                alike = found.setdefault(key, {})
                alike[kind, how, by, reason] = alike.get((kind, how, by, reason), 0) + number
    return {
        key: tuple(ItemClosure(kind, how, number, by, reason) for (kind, how, by, reason), number in alike.items())
        for key, alike in found.items()
    }


def _closed_within(span: IncidentSpan) -> sa.ColumnElement[bool]:
    service, start, end = span
    until = () if end is None else (OpenItem.closed_at <= end,)
    return sa.and_(OpenItem.service_id == service, OpenItem.closed_at > start, *until)


@dataclass(slots=True)
class UnaccountedGroup:
    """The unaccounted jobs that one check found. `last` is when one of them was closed last."""

    number: int = 0
    open: int = 0
    last: str | None = None
    closings: tuple[ItemClosure, ...] = ()
    job_ids: tuple[str, ...] = ()

    @property
    def ending(self) -> IncidentEnd | None:
        return IncidentEnd(self.last, "closed") if self.last and not self.open else None


def read_unaccounted_groups(
    session: Session, moments: Collection[str], most_ids: int | None
) -> dict[tuple[str, str], UnaccountedGroup]:
    """Groups by service and moment, each with at most `most_ids` ids.

    All groups are read in one query: a search reads thousands.
    """
    if not moments:
        return {}
    mine = (OpenItem.kind == "unaccounted", OpenItem.since.in_(sorted(moments)))
    columns = (OpenItem.service_id, OpenItem.since)
    found: dict[tuple[str, str], UnaccountedGroup] = {}
    figures = _count_alike((*columns, sa.func.max(OpenItem.closed_at)), *mine, grouped=columns)
    for service, since, last, kind, how, number, by, reason in session.execute(figures):
        group = found.setdefault((service, since), UnaccountedGroup())
        group.number += number
        if how is None:
            group.open += number
            continue
        group.last = max(last, group.last or last)
        group.closings = (*group.closings, ItemClosure(kind, how, number, by, reason))
    yield_to_loop()
    place = sa.func.row_number().over(partition_by=columns, order_by=OpenItem.job_id).label("place")
    each = sa.select(*columns, OpenItem.job_id, place).where(*mine).subquery()
    named = sa.select(each.c.service_id, each.c.since, each.c.job_id).order_by(each.c.place)
    some = named if most_ids is None else named.where(each.c.place <= most_ids)
    ids: dict[tuple[str, str], list[str]] = {}
    for service, since, job_id in iterate_in_slices(session.execute(some).all()):
        ids.setdefault((service, since), []).append(job_id)
    for key, group in found.items():
        group.job_ids = tuple(ids.get(key, ()))
    return found


def _count_alike(
    columns: tuple[Any, ...], *wanted: sa.ColumnElement[bool], grouped: tuple[Any, ...] | None = None
) -> sa.Select[Any]:
    alike = (OpenItem.kind, OpenItem.closed_how)
    who = (OpenItem.closed_by, OpenItem.close_reason)
    keys = (*(columns if grouped is None else grouped), *alike)
    query = sa.select(*columns, *alike, sa.func.count(), *who).where(*wanted)
    return query.group_by(*keys, *who).order_by(*keys)

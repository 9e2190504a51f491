"""How what was wrong came to its end: what the next look said, and who accepted it with which reason."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.infra.concurrency import iterate_in_slices, yield_to_loop
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


# A service, and from when until when; None: it goes on.
Span = tuple[str, str, str | None]


def endings(session: Session, ids: Sequence[str]) -> dict[str, Ending]:
    """By id of an episode's first row, the row that ended it; what nothing has ended is not in it.

    Silence ends no discrepancy, and what goes on with an episode does not end it.
    """
    later, row = aliased(DiscrepancyEvent), DiscrepancyEvent
    heard = later.status != "stale"
    ends = sa.or_(row.status == "verified", sa.and_(heard, sa.func.coalesce(later.episode, "") != row.id))
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
    found = {one: Ending(at, status) for one, at, status in session.execute(said)}
    return {one: found[other] for one, other in pairs}


def removals(session: Session, services: Collection[str]) -> dict[str, Ending]:
    """The services of these that are no longer watched."""
    query = sa.select(Service.id, Service.removed_at).where(Service.id.in_(services), Service.removed_at.is_not(None))
    return {service: Ending(at, "gone") for service, at in session.execute(query) if at is not None}


def closings(session: Session, spans: Mapping[str, Span]) -> Mapping[str, tuple[Closing, ...]]:
    """By key of a span: what was closed in it, its end included."""
    if not spans:
        return {}
    # One condition each: SQLite uses no index for a list of them.
    within = sa.or_(*(_within(span) for span in sorted(set(spans.values()), key=str)))
    columns = (OpenItem.service_id, OpenItem.closed_at)
    found: dict[str, dict[tuple[Any, ...], int]] = {}
    for service, at, kind, how, number, by, reason in session.execute(
        _alike(columns, within, OpenItem.kind != "unaccounted")
    ):
        for key, (of, start, end) in spans.items():
            if of == service and start < at and (end is None or at <= end):
                alike = found.setdefault(key, {})
                alike[kind, how, by, reason] = alike.get((kind, how, by, reason), 0) + number
    return {
        key: tuple(Closing(kind, how, number, by, reason) for (kind, how, by, reason), number in alike.items())
        for key, alike in found.items()
    }


def _within(span: Span) -> sa.ColumnElement[bool]:
    service, start, end = span
    until = () if end is None else (OpenItem.closed_at <= end,)
    return sa.and_(OpenItem.service_id == service, OpenItem.closed_at > start, *until)


@dataclass(slots=True)
class Group:
    """Jobs of a service that one look found unaccounted for. `last`: when one of them was closed last."""

    number: int = 0
    open: int = 0
    last: str | None = None
    closings: tuple[Closing, ...] = ()
    job_ids: tuple[str, ...] = ()

    @property
    def ending(self) -> Ending | None:
        return Ending(self.last, "closed") if self.last and not self.open else None


def groups(session: Session, moments: Collection[str], most_ids: int | None) -> dict[tuple[str, str], Group]:
    """By service and moment; each with at most so many of its ids. All groups at once: a search reads thousands."""
    if not moments:
        return {}
    mine = (OpenItem.kind == "unaccounted", OpenItem.since.in_(sorted(moments)))
    columns = (OpenItem.service_id, OpenItem.since)
    found: dict[tuple[str, str], Group] = {}
    figures = _alike((*columns, sa.func.max(OpenItem.closed_at)), *mine, grouped=columns)
    for service, since, last, kind, how, number, by, reason in session.execute(figures):
        group = found.setdefault((service, since), Group())
        group.number += number
        if how is None:
            group.open += number
            continue
        group.last = max(last, group.last or last)
        group.closings = (*group.closings, Closing(kind, how, number, by, reason))
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


def _alike(
    columns: tuple[Any, ...], *wanted: sa.ColumnElement[bool], grouped: tuple[Any, ...] | None = None
) -> sa.Select[Any]:
    alike = (OpenItem.kind, OpenItem.closed_how)
    who = (OpenItem.closed_by, OpenItem.close_reason)
    keys = (*(columns if grouped is None else grouped), *alike)
    query = sa.select(*columns, *alike, sa.func.count(), *who).where(*wanted)
    return query.group_by(*keys, *who).order_by(*keys)

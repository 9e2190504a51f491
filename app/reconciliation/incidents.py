"""Reads the record as incidents: what was wrong with which service, from when to when, and how it ended.

A discrepancy lasts until its service is verified, or until all of it is solved and something else is wrong. Rows of
`discrepancy_event` that continue one are part of it, and silence of the service does not end it. Unaccounted jobs are
no discrepancy and have no row there: those of one check are one incident here. Both streams are read by key,
separately, so that the cost of a page does not depend on its position.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.infra.concurrency import yield_to_loop
from app.reconciliation.incident_closure import (
    IncidentEnd,
    ItemClosure,
    UnaccountedGroup,
    find_ends,
    find_item_closures,
    find_removed_services,
    read_unaccounted_groups,
)
from app.reconciliation.models import DiscrepancyEvent, OpenItem, Service

SortBy = Literal["time", "service"]
SortKey = tuple[str, ...]
PROBLEM_STATUSES = ("discrepancy", "stale")
STATUSES = (*PROBLEM_STATUSES, "verified")


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """Which incidents, in which order; `start` is included, `end` is not.

    Empty `statuses` exclude all rows of the record. `is_open` None returns open and closed ones.
    """

    service: str | None = None
    statuses: tuple[str, ...] = PROBLEM_STATUSES
    unaccounted: bool = True
    is_open: bool | None = None
    start: str | None = None
    end: str | None = None
    sort: SortBy = "time"
    descending: bool = True

    @property
    def by_name(self) -> bool:
        """False for a single service: ordering it by name changes nothing, and the index of its times serves."""
        return self.sort == "service" and self.service is None


@dataclass(frozen=True, slots=True)
class IncidentPosition:
    """How far both streams were read."""

    events: SortKey | None = None
    groups: SortKey | None = None


START_POSITION = IncidentPosition()


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident.

    `details_json` and `findings_json` are from each row that belongs to it; `reason` is the newest. `job_ids` are extra
    or unaccounted jobs, at most as many as requested, out of `jobs`. `ending` is None while it is open.
    """

    key: SortKey
    id: str
    at: str
    service: str
    status: str
    details_json: tuple[str, ...] = ()
    findings_json: tuple[str, ...] = ()
    reason: str | None = None
    job_ids: tuple[str, ...] = ()
    jobs: int = 0
    ending: IncidentEnd | None = None
    closings: tuple[ItemClosure, ...] = ()


def read_incidents(
    session: Session, wanted: IncidentFilter, after: IncidentPosition, limit: int, most_ids: int | None
) -> list[Incident]:
    """The next incidents; fewer than `limit` at the end."""
    events = _read_events(session, wanted, after.events, limit) if wanted.statuses else []
    yield_to_loop()
    unaccounted = _read_groups(session, wanted, after.groups, limit) if wanted.unaccounted else []
    return _add_details(session, _merge(events, unaccounted, wanted)[:limit], most_ids)


def advance(position: IncidentPosition, episode: Incident) -> IncidentPosition:
    """The position after this incident."""
    if episode.status == "unaccounted":
        return replace(position, groups=episode.key)
    return replace(position, events=episode.key)


def read_newest_row_id(session: Session) -> str:
    """The id of the newest row of the record; it changes whenever something was recorded."""
    row = DiscrepancyEvent
    return session.scalar(sa.select(row.id).order_by(row.timestamp.desc(), row.id.desc()).limit(1)) or ""


def find_open_incident_ids(session: Session) -> list[str]:
    """For each watched service: the episode of its newest row, and a discrepancy that was open when it fell silent."""
    newest = _read_newest_rows(session)
    silent = {one.service for one in newest if one.status == "stale"}
    before = [one for one in _read_newest_rows(session, DiscrepancyEvent.status != "stale") if one.service in silent]
    return [one.episode or one.id for one in (*newest, *(one for one in before if one.status == "discrepancy"))]


def _read_newest_rows(session: Session, *which: sa.ColumnElement[bool]) -> Sequence[sa.Row[str, str, str, str | None]]:
    row = DiscrepancyEvent
    newest = sa.select(row.id).where(row.service == Service.id, *which).order_by(row.timestamp.desc(), row.id.desc())
    ids = sa.select(newest.limit(1).scalar_subquery()).where(Service.removed_at.is_(None))
    found = [one for one in session.scalars(ids) if one is not None]
    return session.execute(sa.select(row.id, row.service, row.status, row.episode).where(row.id.in_(found))).all()


def _merge(events: list[Incident], groups: list[Incident], wanted: IncidentFilter) -> list[Incident]:
    """Merge both streams. Each keeps the database's order, whose collation may differ from Python's."""
    merged: list[Incident] = []
    while events and groups:
        one, other = (events[0], groups[0])
        by_name = wanted.sort == "service"
        first, second = ((each.service, each.at) if by_name else ("", each.at) for each in (one, other))
        merged.append(events.pop(0) if first == second or (first > second) is wanted.descending else groups.pop(0))
    return [*merged, *events, *groups]


def _read_events(session: Session, wanted: IncidentFilter, after: SortKey | None, limit: int) -> list[Incident]:
    row = DiscrepancyEvent
    columns = [row.service, row.timestamp, row.id] if wanted.by_name else [row.timestamp, row.id]
    conditions = [
        row.episode.is_(None),
        _status_condition(wanted.statuses),
        *_filter_conditions(row.service, row.timestamp, wanted),
    ]
    if wanted.is_open is not None:
        newest = row.id.in_(find_open_incident_ids(session))
        conditions.append(newest if wanted.is_open else ~newest)
    query = sa.select(row).where(*conditions, *_after_key(columns, wanted, after)).order_by(*_order_by(columns, wanted))
    return [
        Incident(
            tuple(getattr(one, column.key) for column in columns),
            one.id,
            one.timestamp,
            one.service,
            one.status,
            _drop_empty([one.discrepancy_details_json]),
            _drop_empty([one.findings_json]),
            one.reason,
        )
        for one in session.scalars(query.limit(limit))
    ]


def _status_condition(statuses: tuple[str, ...]) -> sa.ColumnElement[bool]:
    """The condition on the status, written so that SQLite picks the right index.

    A single status is found by its index. For several statuses SQLite would use that index too, and then sort all rows
    it finds; a condition that is no equality leaves it the index of the requested order.
    """
    status = DiscrepancyEvent.status
    return (
        status == statuses[0] if len(statuses) == 1 else status.not_in([one for one in STATUSES if one not in statuses])
    )


def _read_groups(session: Session, wanted: IncidentFilter, after: SortKey | None, limit: int) -> list[Incident]:
    by_name = wanted.by_name
    columns = [OpenItem.service_id, OpenItem.since] if by_name else [OpenItem.since, OpenItem.service_id]
    conditions = [OpenItem.kind == "unaccounted", *_filter_conditions(OpenItem.service_id, OpenItem.since, wanted)]
    if wanted.is_open:
        conditions.append(OpenItem.closed_at.is_(None))
    elif wanted.is_open is False:
        # Read first: a correlated subquery would read the whole group for every item.
        conditions.append(sa.tuple_(OpenItem.service_id, OpenItem.since).not_in(_read_open_groups(session)))
    query = sa.select(columns[0], columns[1]).where(*conditions, *_after_key(columns, wanted, after)).distinct()
    found = []
    for first, second in session.execute(query.order_by(*_order_by(columns, wanted)).limit(limit)):
        service, since = (first, second) if by_name else (second, first)
        found.append(Incident((first, second), f"{service}@{since}", since, service, "unaccounted"))
    return found


def _read_open_groups(session: Session) -> list[tuple[str, str]]:
    query = sa.select(OpenItem.service_id, OpenItem.since).distinct()
    still = (OpenItem.kind == "unaccounted", OpenItem.closed_at.is_(None))
    return [(service, since) for service, since in session.execute(query.where(*still))]


def _after_key(columns: Sequence[Any], wanted: IncidentFilter, after: SortKey | None) -> list[sa.ColumnElement[bool]]:
    if after is None or len(after) != len(columns):
        return []
    key = sa.tuple_(*columns)
    return [key < after if wanted.descending else key > after]


def _order_by(columns: Sequence[Any], wanted: IncidentFilter) -> list[sa.ColumnElement[Any]]:
    return [column.desc() if wanted.descending else column.asc() for column in columns]


def _filter_conditions(service: Any, at: Any, wanted: IncidentFilter) -> list[sa.ColumnElement[bool]]:
    asked = (
        (wanted.service, service.__eq__),
        (wanted.start, at.__ge__),
        (wanted.end, at.__lt__),
    )
    return [compare(value) for value, compare in asked if value is not None]


def _add_details(session: Session, found: list[Incident], most_ids: int | None) -> list[Incident]:
    """Add what other rows say about the incidents. The loop may run after each query."""
    ends = find_ends(session, [one.id for one in found if one.status != "unaccounted"])
    yield_to_loop()
    gone = find_removed_services(session, {one.service for one in found})
    later = _read_later_rows(session, [one.id for one in found if one.status in PROBLEM_STATUSES])
    yield_to_loop()
    incidents = [replace(one, ending=ends.get(one.id) or gone.get(one.service)) for one in found]
    spans = {
        one.id: (one.service, one.at, one.ending.at if one.ending else None) for one in incidents if _has_items(one)
    }
    closed = find_item_closures(session, spans)
    yield_to_loop()
    moments = {
        one.id: {one.at, *(row.timestamp for row in later.get(one.id, ()))} for one in incidents if _has_items(one)
    }
    extra = _read_extra_job_ids(session, {at for each in moments.values() for at in each})
    yield_to_loop()
    unaccounted = read_unaccounted_groups(session, {one.at for one in found if one.status == "unaccounted"}, most_ids)
    made = []
    for one in incidents:
        if one.status == "unaccounted":
            of = unaccounted.get((one.service, one.at), UnaccountedGroup())
            made.append(replace(one, jobs=of.number, ending=of.ending, closings=of.closings, job_ids=of.job_ids))
            continue
        ids = [job_id for at in sorted(moments.get(one.id, ())) for job_id in extra.get((one.service, at), ())]
        ids = list(dict.fromkeys(ids))
        whole = _add_later_rows(one, later.get(one.id, ()))
        made.append(replace(whole, closings=closed.get(one.id, ()), job_ids=tuple(ids), jobs=len(ids)))
    return made


def _has_items(one: Incident) -> bool:
    return one.status == "discrepancy"


def _read_later_rows(session: Session, ids: Collection[str]) -> dict[str, list[DiscrepancyEvent]]:
    """The rows that continue each episode, oldest first."""
    found: dict[str, list[DiscrepancyEvent]] = {}
    row = DiscrepancyEvent
    query = sa.select(row).where(row.episode.in_(ids)).order_by(row.timestamp, row.id)
    for one in session.scalars(query) if ids else ():
        found.setdefault(one.episode or "", []).append(one)
    return found


def _add_later_rows(one: Incident, later: Sequence[DiscrepancyEvent]) -> Incident:
    """The incident with the details and findings of its later rows."""
    reasons = [row.reason for row in later if row.reason]
    return replace(
        one,
        details_json=(*one.details_json, *_drop_empty(row.discrepancy_details_json for row in later)),
        findings_json=(*one.findings_json, *_drop_empty(row.findings_json for row in later)),
        reason=reasons[-1] if reasons else one.reason,
    )


def _drop_empty(texts: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(text for text in texts if text)


def _read_extra_job_ids(session: Session, moments: Collection[str]) -> dict[tuple[str, str], list[str]]:
    """By service and moment: the jobs that this check declared extra."""
    found: dict[tuple[str, str], list[str]] = {}
    query = sa.select(OpenItem.service_id, OpenItem.since, OpenItem.job_id).where(OpenItem.kind == "extra")
    for service, since, job_id in session.execute(query.where(OpenItem.since.in_(moments)).order_by(OpenItem.job_id)):
        found.setdefault((service, since), []).append(job_id)
    return found

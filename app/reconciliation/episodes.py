"""The record as people read it: what was wrong with which service, from when until when, and how it ended.

A row of `discrepancy_event` holds until the next row of its service. Jobs that are unaccounted for are no discrepancy
and have no row there: those of one look are one episode here. Read by key, both streams apart, so that no page depends
on how much lies before it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.offloop import breathe
from app.reconciliation.endings import Closing, Ending, Group, closings, endings, groups, removals
from app.reconciliation.models import DiscrepancyEvent, OpenItem, Service

SortBy = Literal["time", "service"]
Key = tuple[str, ...]
WRONG = ("discrepancy", "stale")
STATUSES = (*WRONG, "verified")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which episodes, in which order; `start` is included, `end` is not. No `statuses`: none of the rows of the record.

    `is_open` None: both.
    """

    service: str | None = None
    statuses: tuple[str, ...] = WRONG
    unaccounted: bool = True
    is_open: bool | None = None
    start: str | None = None
    end: str | None = None
    sort: SortBy = "time"
    descending: bool = True

    @property
    def by_name(self) -> bool:
        """Of one service there is nothing to order by name: the index of its times serves."""
        return self.sort == "service" and self.service is None


@dataclass(frozen=True, slots=True)
class Position:
    """How far both streams were read."""

    events: Key | None = None
    groups: Key | None = None


START = Position()


@dataclass(frozen=True, slots=True)
class Episode:
    """`details_json` is as the record keeps it; `job_ids` are those that are extra, or unaccounted for, or of a service
    that is stale now those that were missing or extra before: at most so many as were asked for, of `jobs`. `ending` is
    None while it is open."""

    key: Key
    id: str
    at: str
    service: str
    status: str
    details_json: str | None = None
    job_ids: tuple[str, ...] = ()
    jobs: int = 0
    ending: Ending | None = None
    closings: tuple[Closing, ...] = ()


def read_on(session: Session, wanted: Wanted, after: Position, limit: int, most_ids: int | None) -> list[Episode]:
    """The next episodes; fewer than `limit` at the end."""
    events = _events(session, wanted, after.events, limit) if wanted.statuses else []
    breathe()
    looks = _groups(session, wanted, after.groups, limit) if wanted.unaccounted else []
    return _told(session, _merged(events, looks, wanted)[:limit], most_ids)


def behind(position: Position, episode: Episode) -> Position:
    """Where to read on after this one."""
    if episode.status == "unaccounted":
        return replace(position, groups=episode.key)
    return replace(position, events=episode.key)


def head(session: Session) -> str:
    """The newest row of the record: another one where something happened since."""
    row = DiscrepancyEvent
    return session.scalar(sa.select(row.id).order_by(row.timestamp.desc(), row.id.desc()).limit(1)) or ""


def open_ids(session: Session) -> list[str]:
    """The newest row of each service that is watched: the only ones that may still hold."""
    newest = (
        sa.select(DiscrepancyEvent.id)
        .where(DiscrepancyEvent.service == Service.id)
        .order_by(DiscrepancyEvent.timestamp.desc(), DiscrepancyEvent.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    found = session.scalars(sa.select(newest).where(Service.removed_at.is_(None)))
    return [one for one in found if one is not None]


def _merged(events: list[Episode], groups: list[Episode], wanted: Wanted) -> list[Episode]:
    """Each stream stays in its own order, which is the database's, whatever this one thinks of names."""
    merged: list[Episode] = []
    while events and groups:
        one, other = (events[0], groups[0])
        by_name = wanted.sort == "service"
        first, second = ((each.service, each.at) if by_name else ("", each.at) for each in (one, other))
        merged.append(events.pop(0) if first == second or (first > second) is wanted.descending else groups.pop(0))
    return [*merged, *events, *groups]


def _events(session: Session, wanted: Wanted, after: Key | None, limit: int) -> list[Episode]:
    row = DiscrepancyEvent
    columns = [row.service, row.timestamp, row.id] if wanted.by_name else [row.timestamp, row.id]
    conditions = [_has_status(wanted.statuses), *_within(row.service, row.timestamp, wanted)]
    if wanted.is_open is not None:
        newest = row.id.in_(open_ids(session))
        conditions.append(newest if wanted.is_open else ~newest)
    query = sa.select(row).where(*conditions, *_behind(columns, wanted, after)).order_by(*_order(columns, wanted))
    return [
        Episode(
            tuple(getattr(one, column.key) for column in columns),
            one.id,
            one.timestamp,
            one.service,
            one.status,
            one.discrepancy_details_json,
        )
        for one in session.scalars(query.limit(limit))
    ]


def _has_status(statuses: tuple[str, ...]) -> sa.ColumnElement[bool]:
    """One is found by its index. For several SQLite would take that index too, and sort all that it finds: what is no
    condition of equality leaves it the index of the order that is asked for."""
    status = DiscrepancyEvent.status
    return (
        status == statuses[0] if len(statuses) == 1 else status.not_in([one for one in STATUSES if one not in statuses])
    )


def _groups(session: Session, wanted: Wanted, after: Key | None, limit: int) -> list[Episode]:
    by_name = wanted.by_name
    columns = [OpenItem.service_id, OpenItem.since] if by_name else [OpenItem.since, OpenItem.service_id]
    conditions = [OpenItem.kind == "unaccounted", *_within(OpenItem.service_id, OpenItem.since, wanted)]
    if wanted.is_open:
        conditions.append(OpenItem.closed_at.is_(None))
    elif wanted.is_open is False:
        # Looked for first: a question for each item would read its whole group each time.
        conditions.append(sa.tuple_(OpenItem.service_id, OpenItem.since).not_in(_open_groups(session)))
    query = sa.select(columns[0], columns[1]).where(*conditions, *_behind(columns, wanted, after)).distinct()
    found = []
    for first, second in session.execute(query.order_by(*_order(columns, wanted)).limit(limit)):
        service, since = (first, second) if by_name else (second, first)
        found.append(Episode((first, second), f"{service}@{since}", since, service, "unaccounted"))
    return found


def _open_groups(session: Session) -> list[tuple[str, str]]:
    query = sa.select(OpenItem.service_id, OpenItem.since).distinct()
    still = (OpenItem.kind == "unaccounted", OpenItem.closed_at.is_(None))
    return [(service, since) for service, since in session.execute(query.where(*still))]


def _behind(columns: Sequence[Any], wanted: Wanted, after: Key | None) -> list[sa.ColumnElement[bool]]:
    if after is None or len(after) != len(columns):
        return []
    key = sa.tuple_(*columns)
    return [key < after if wanted.descending else key > after]


def _order(columns: Sequence[Any], wanted: Wanted) -> list[sa.ColumnElement[Any]]:
    return [column.desc() if wanted.descending else column.asc() for column in columns]


def _within(service: Any, at: Any, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    asked = (
        (wanted.service, service.__eq__),
        (wanted.start, at.__ge__),
        (wanted.end, at.__lt__),
    )
    return [compare(value) for value, compare in asked if value is not None]


def _told(session: Session, found: list[Episode], most_ids: int | None) -> list[Episode]:
    """With what the other rows say of them; a breath after each question keeps the loop free."""
    next_rows = endings(session, [one.id for one in found if one.status != "unaccounted"])
    breathe()
    gone = removals(session, {one.service for one in found})
    closed = closings(session, {(one.service, next_rows[one.id].at) for one in found if one.id in next_rows})
    breathe()
    extra = _extra(session, {one.at for one in found if one.status == "discrepancy"})
    breathe()
    unaccounted = groups(session, {one.at for one in found if one.status == "unaccounted"}, most_ids)
    silent = {one.service for one in found if one.status == "stale" and one.id not in next_rows} - gone.keys()
    still = _still_open(session, silent)
    told = []
    for one in found:
        if one.status == "unaccounted":
            of = unaccounted.get((one.service, one.at), Group())
            ids = of.job_ids
            told.append(replace(one, jobs=of.number, ending=of.ending, closings=of.closings, job_ids=ids))
            continue
        ending = next_rows.get(one.id) or gone.get(one.service)
        done = closed.get((one.service, ending.at), ()) if ending else ()
        is_silent = one.status == "stale" and ending is None
        named = still.get(one.service, ()) if is_silent else extra.get((one.service, one.at), ())
        told.append(replace(one, ending=ending, closings=done, job_ids=tuple(named), jobs=len(named)))
    return told


def _extra(session: Session, moments: Collection[str]) -> dict[tuple[str, str], list[str]]:
    """By service and moment: the jobs that this look found shown as unfinished though they were published as ended."""
    found: dict[tuple[str, str], list[str]] = {}
    query = sa.select(OpenItem.service_id, OpenItem.since, OpenItem.job_id).where(OpenItem.kind == "extra")
    for service, since, job_id in session.execute(query.where(OpenItem.since.in_(moments)).order_by(OpenItem.job_id)):
        found.setdefault((service, since), []).append(job_id)
    return found


def _still_open(session: Session, services: Collection[str]) -> dict[str, list[str]]:
    """By service: the jobs that were missing or extra when it stopped answering. Nothing has said otherwise since."""
    found: dict[str, list[str]] = {}
    if services:
        query = sa.select(OpenItem.service_id, OpenItem.job_id).where(OpenItem.service_id.in_(services))
        mine = query.where(OpenItem.closed_at.is_(None), OpenItem.kind != "unaccounted")
        for service, job_id in session.execute(mine.order_by(OpenItem.service_id, OpenItem.job_id).distinct()):
            found.setdefault(service, []).append(job_id)
    return found

"""The record as people read it: what was wrong with which service, from when until when, and how it ended.

A discrepancy holds until its service is verified, or until nothing of it is wrong any more and something else is: rows
of `discrepancy_event` that go on with one are part of it, and the silence of its service does not end it. Jobs that are
unaccounted for are no discrepancy and have no row there: those of one look are one episode here. Read by key, both
streams apart, so that no page depends on how much lies before it.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.infra.concurrency import yield_to_loop
from app.reconciliation.incident_closure import Closing, Ending, Group, closings, endings, groups, removals
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
    """`details_json` and `findings_json` are as the record keeps them, of each row that belongs to it; `reason` is the
    newest. `job_ids` are those that are extra, or unaccounted for: at most so many as were asked for, of `jobs`.
    `ending` is None while it is open."""

    key: Key
    id: str
    at: str
    service: str
    status: str
    details_json: tuple[str, ...] = ()
    findings_json: tuple[str, ...] = ()
    reason: str | None = None
    job_ids: tuple[str, ...] = ()
    jobs: int = 0
    ending: Ending | None = None
    closings: tuple[Closing, ...] = ()


def read_on(session: Session, wanted: Wanted, after: Position, limit: int, most_ids: int | None) -> list[Episode]:
    """The next episodes; fewer than `limit` at the end."""
    events = _events(session, wanted, after.events, limit) if wanted.statuses else []
    yield_to_loop()
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
    """Of each service that is watched: the episode of its newest row, and the discrepancy that it fell silent with."""
    newest = _newest_of(session)
    silent = {one.service for one in newest if one.status == "stale"}
    before = [one for one in _newest_of(session, DiscrepancyEvent.status != "stale") if one.service in silent]
    return [one.episode or one.id for one in (*newest, *(one for one in before if one.status == "discrepancy"))]


def _newest_of(session: Session, *which: sa.ColumnElement[bool]) -> Sequence[sa.Row[str, str, str, str | None]]:
    row = DiscrepancyEvent
    newest = sa.select(row.id).where(row.service == Service.id, *which).order_by(row.timestamp.desc(), row.id.desc())
    ids = sa.select(newest.limit(1).scalar_subquery()).where(Service.removed_at.is_(None))
    found = [one for one in session.scalars(ids) if one is not None]
    return session.execute(sa.select(row.id, row.service, row.status, row.episode).where(row.id.in_(found))).all()


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
    conditions = [row.episode.is_(None), _has_status(wanted.statuses), *_within(row.service, row.timestamp, wanted)]
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
            _given([one.discrepancy_details_json]),
            _given([one.findings_json]),
            one.reason,
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
    ends = endings(session, [one.id for one in found if one.status != "unaccounted"])
    yield_to_loop()
    gone = removals(session, {one.service for one in found})
    later = _later_rows(session, [one.id for one in found if one.status in WRONG])
    yield_to_loop()
    told = [replace(one, ending=ends.get(one.id) or gone.get(one.service)) for one in found]
    spans = {one.id: (one.service, one.at, one.ending.at if one.ending else None) for one in told if _has_items(one)}
    closed = closings(session, spans)
    yield_to_loop()
    moments = {one.id: {one.at, *(row.timestamp for row in later.get(one.id, ()))} for one in told if _has_items(one)}
    extra = _extra(session, {at for each in moments.values() for at in each})
    yield_to_loop()
    unaccounted = groups(session, {one.at for one in found if one.status == "unaccounted"}, most_ids)
    made = []
    for one in told:
        if one.status == "unaccounted":
            of = unaccounted.get((one.service, one.at), Group())
            made.append(replace(one, jobs=of.number, ending=of.ending, closings=of.closings, job_ids=of.job_ids))
            continue
        ids = [job_id for at in sorted(moments.get(one.id, ())) for job_id in extra.get((one.service, at), ())]
        ids = list(dict.fromkeys(ids))
        whole = _grown(one, later.get(one.id, ()))
        made.append(replace(whole, closings=closed.get(one.id, ()), job_ids=tuple(ids), jobs=len(ids)))
    return made


def _has_items(one: Episode) -> bool:
    return one.status == "discrepancy"


def _later_rows(session: Session, ids: Collection[str]) -> dict[str, list[DiscrepancyEvent]]:
    """By episode: the rows that go on with it, oldest first."""
    found: dict[str, list[DiscrepancyEvent]] = {}
    row = DiscrepancyEvent
    query = sa.select(row).where(row.episode.in_(ids)).order_by(row.timestamp, row.id)
    for one in session.scalars(query) if ids else ():
        found.setdefault(one.episode or "", []).append(one)
    return found


def _grown(one: Episode, later: Sequence[DiscrepancyEvent]) -> Episode:
    """With all that was told of it while it went on."""
    reasons = [row.reason for row in later if row.reason]
    return replace(
        one,
        details_json=(*one.details_json, *_given(row.discrepancy_details_json for row in later)),
        findings_json=(*one.findings_json, *_given(row.findings_json for row in later)),
        reason=reasons[-1] if reasons else one.reason,
    )


def _given(texts: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(text for text in texts if text)


def _extra(session: Session, moments: Collection[str]) -> dict[tuple[str, str], list[str]]:
    """By service and moment: the jobs that this look found shown as unfinished though they were published as ended."""
    found: dict[tuple[str, str], list[str]] = {}
    query = sa.select(OpenItem.service_id, OpenItem.since, OpenItem.job_id).where(OpenItem.kind == "extra")
    for service, since, job_id in session.execute(query.where(OpenItem.since.in_(moments)).order_by(OpenItem.job_id)):
        found.setdefault((service, since), []).append(job_id)
    return found

"""Reads the record as it is asked for: a page of it, or all of it piece by piece."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.infra.concurrency import yield_to_loop
from app.reconciliation import incidents
from app.reconciliation.incidents import START, Episode, Wanted
from app.reconciliation.models import ServiceState
from app.web.dashboard.change_rows import NameOf
from app.web.discrepancies.incident_query import FIRST, Asked, Place
from app.web.discrepancies.incident_rows import RecordRow

LIMIT = 50
# A search reads the rows themselves: so many for one page.
SEARCHED = 2_000
AT_ONCE = 100
# Of one look; their number is told in full.
SHOWN_IDS = 1_000

Read = Callable[[Wanted, incidents.Position, int], list[RecordRow]]


@dataclass(frozen=True, slots=True)
class Found:
    """`older` is where the next page begins; `looked_at`: how many rows were read, where a search stopped there."""

    rows: list[RecordRow]
    older: Place | None = None
    looked_at: int | None = None


def page(session: Session, asked: Asked, name_of: NameOf) -> Found:
    def read(wanted: Wanted, after: incidents.Position, limit: int) -> list[RecordRow]:
        return rows(session, wanted, after, limit, name_of, SHOWN_IDS)

    found: list[RecordRow] = []
    place, size = asked.place, AT_ONCE if asked.looks_at_rows else LIMIT + 1
    walk = _walk(asked.parts(open_first=True), asked.place, read, size)
    for looked_at, (row, behind) in enumerate(walk, 1):
        if matches(asked, row):
            if len(found) == LIMIT:
                return Found(found, place)
            found.append(row)
            place = behind
        if asked.looks_at_rows and looked_at >= SEARCHED:
            return Found(found, behind, looked_at)
    return Found(found)


def everything(asked: Asked, read: Read) -> Iterator[RecordRow]:
    """All that fits, in the order of time or of services, without a difference between open and closed: what closes
    while somebody reads is still told once."""
    for row, _ in _walk(asked.parts(open_first=False), FIRST, read, AT_ONCE):
        if matches(asked, row):
            yield row


def rows(
    session: Session, wanted: Wanted, after: incidents.Position, limit: int, name_of: NameOf, most_ids: int | None
) -> list[RecordRow]:
    found = incidents.read_on(session, wanted, after, limit, most_ids)
    current = _current(session, found)
    made = []
    for one in found:
        made.append(RecordRow.of(one, name_of, current.get(one.service) if one.ending is None else None))
        if sum(map(len, one.details_json)) > AT_ONCE * AT_ONCE:  # thousands of ids take a while to parse
            yield_to_loop()
    return made


def matches(asked: Asked, row: RecordRow) -> bool:
    kind = asked.one("kind")
    if kind == "extra" and not row.episode.job_ids:
        return False
    if kind in ("missing", "other") and row.kind != kind:
        return False
    return not asked.search.terms or asked.search.matches(row.as_change())


def _walk(parts: list[Wanted], start: Place, read: Read, size: int) -> Iterator[tuple[RecordRow, Place]]:
    """Each row, and the place behind it."""
    for part in range(start.part, len(parts)):
        position = start.position if part == start.part else START
        while True:
            batch = read(parts[part], position, size)
            for row in batch:
                position = incidents.behind(position, row.episode)
                yield row, Place(part, position)
            if len(batch) < size:
                break
            yield_to_loop()


def _current(session: Session, found: list[Episode]) -> Mapping[str, Mapping[str, Any]]:
    """What is believed now of the services whose episode still holds."""
    services = {one.service for one in found if one.ending is None}
    state = ServiceState
    query = sa.select(state.service_id, state.payload_json).where(state.service_id.in_(services))
    return {service: json.loads(text) for service, text in session.execute(query) if text} if services else {}

"""Reads the discrepancies that match a query: one page, or all of them in batches."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.infra.concurrency import yield_to_loop
from app.reconciliation import incidents
from app.reconciliation.incidents import START_POSITION, Incident, IncidentFilter
from app.reconciliation.models import ServiceState
from app.web.dashboard.change_rows import NameOf
from app.web.discrepancies.incident_query import FIRST_PAGE, IncidentQuery, PageStart
from app.web.discrepancies.incident_rows import IncidentRow

PAGE_ROWS = 50
# A search reads the rows themselves: at most this many for one page.
MAX_ROWS_SEARCHED = 2_000
BATCH_ROWS = 100
# Ids read for one discrepancy; their number is always exact.
MAX_IDS_SHOWN = 1_000
# Parsing longer details (thousands of ids) takes so long that other greenlets get a turn after it.
YIELD_ABOVE_CHARS = 10_000

ReadBatch = Callable[[IncidentFilter, incidents.IncidentPosition, int], list[IncidentRow]]


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """A page of rows. `older` is where the next page begins; `searched_count`: how many rows were read, if the search
    stopped there."""

    rows: list[IncidentRow]
    older: PageStart | None = None
    searched_count: int | None = None


def load_page(session: Session, query: IncidentQuery, name_of: NameOf) -> IncidentPage:
    read_batch = partial(load_rows, session, name_of=name_of, most_ids=MAX_IDS_SHOWN)
    found: list[IncidentRow] = []
    next_start, size = query.page_start, BATCH_ROWS if query.needs_row_filter else PAGE_ROWS + 1
    walk = _walk(query.database_queries(open_first=True), query.page_start, read_batch, size)
    for searched, (row, after_row) in enumerate(walk, 1):
        if matches_query(query, row):
            if len(found) == PAGE_ROWS:
                return IncidentPage(found, next_start)
            found.append(row)
            next_start = after_row
        if query.needs_row_filter and searched >= MAX_ROWS_SEARCHED:
            return IncidentPage(found, after_row, searched)
    return IncidentPage(found)


def read_all(query: IncidentQuery, read_batch: ReadBatch) -> Iterator[IncidentRow]:
    """All matching rows, sorted by time or service. Open and closed ones are not separated, so that a discrepancy that
    closes during the export appears exactly once."""
    for row, _ in _walk(query.database_queries(open_first=False), FIRST_PAGE, read_batch, BATCH_ROWS):
        if matches_query(query, row):
            yield row


def load_rows(
    session: Session,
    wanted: IncidentFilter,
    after: incidents.IncidentPosition,
    limit: int,
    name_of: NameOf,
    most_ids: int | None,
) -> list[IncidentRow]:
    episodes = incidents.read_incidents(session, wanted, after, limit, most_ids)
    payloads = _load_current_payloads(session, episodes)
    rows = []
    for one in episodes:
        payload = payloads.get(one.service) if one.ending is None else None
        rows.append(IncidentRow.from_episode(one, name_of, payload))
        if sum(map(len, one.details_json)) > YIELD_ABOVE_CHARS:
            yield_to_loop()
    return rows


def matches_query(query: IncidentQuery, row: IncidentRow) -> bool:
    kind = query.value("kind")
    if kind == "extra" and not row.episode.job_ids:
        return False
    if kind in ("missing", "other") and row.kind != kind:
        return False
    return not query.search.terms or query.search.matches(row.as_change())


def _walk(
    queries: list[IncidentFilter], start: PageStart, read_batch: ReadBatch, size: int
) -> Iterator[tuple[IncidentRow, PageStart]]:
    """Each row, and where a page after it begins."""
    for part in range(start.part, len(queries)):
        position = start.position if part == start.part else START_POSITION
        while True:
            batch = read_batch(queries[part], position, size)
            for row in batch:
                position = incidents.advance(position, row.episode)
                yield row, PageStart(part, position)
            if len(batch) < size:
                break
            yield_to_loop()


def _load_current_payloads(session: Session, episodes: list[Incident]) -> Mapping[str, Mapping[str, Any]]:
    """The current payloads of the services whose episode has not ended, by service id."""
    services = {one.service for one in episodes if one.ending is None}
    state = ServiceState
    query = sa.select(state.service_id, state.payload_json).where(state.service_id.in_(services))
    return {service: json.loads(text) for service, text in session.execute(query) if text} if services else {}

"""Reads the dashboard's tiles and changes.

Read the cursor first: an event committed in between is then seen twice, never missed.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from app.eventlog import reader as log
from app.eventlog.audience import Viewer
from app.infra.clock import utc_now
from app.infra.concurrency import yield_to_loop
from app.infra.problems import Problem
from app.reconciliation import queries as reconciliation
from app.reconciliation.current_status import current_status
from app.reconciliation.queries import ServiceWithState
from app.web.dashboard.change_query import ChangeQuery
from app.web.dashboard.change_rows import UNLISTED_TYPES, ChangeRow, NameOf
from app.web.dashboard.view_models import LatestCheck, Tile, dom_key

SEARCH_BATCH_ROWS = 100
MAX_CHANGES_SEARCHED = 2_000


def cursor(session: Session) -> int:
    return log.head(session)


def require_service(session: Session, service_id: str) -> ServiceWithState:
    """The watched service; raises a 404 `Problem` if there is none with this id."""
    found = reconciliation.find_service(session, service_id)
    if found is None:
        detail = "Beacon watches no service with this id. The dashboard lists all services."
        raise Problem(404, "No such service", detail)
    return found


def load_tiles(session: Session, interval: timedelta) -> list[Tile]:
    """A tile for each watched service, sorted by name."""
    tiles = [build_tile(watched, interval) for watched in reconciliation.list_services(session)]
    return sorted(tiles, key=lambda tile: tile.sort_key)


@dataclass(frozen=True, slots=True)
class ChangePage:
    """The matching rows. `searched_count`: how many changes were searched, if older ones were left out."""

    rows: list[ChangeRow]
    searched_count: int | None = None


def search_changes(session: Session, viewer: Viewer, query: ChangeQuery, limit: int, name_of: NameOf) -> ChangePage:
    """The newest `limit` matching changes, in the order of the query. Reads at most `MAX_CHANGES_SEARCHED` changes."""
    rows: list[ChangeRow] = []
    before, searched, size = None, 0, SEARCH_BATCH_ROWS if query.search.terms else limit
    while True:
        page = log.read_newest_before(session, viewer, before, size, UNLISTED_TYPES, only_activity=not query.has_checks)
        made = (ChangeRow.from_event(event, name_of) for event in page.events)
        rows += [row for row in made if query.search.matches(row)]
        before, searched = page.cursor, searched + size
        if len(rows) >= limit or not page.full:
            return ChangePage(query.sort_rows(rows[:limit]))
        if searched >= MAX_CHANGES_SEARCHED:
            return ChangePage(query.sort_rows(rows), searched)
        yield_to_loop()


def build_tile(watched: ServiceWithState, interval: timedelta) -> Tile:
    service, payload = watched.service, watched.payload
    current = current_status(watched.state, payload, utc_now(), interval, service.registered_at)
    if payload is None:
        return Tile.not_checked(service.id, service.name, current.reason, kind=service.kind)
    return Tile.from_payload(
        service.id,
        service.name,
        payload,
        check=_latest_check(watched),
        is_aged=current.is_aged,
        kind=service.kind,
    )


def _latest_check(watched: ServiceWithState) -> LatestCheck | None:
    """The newest check that the service answered; a failed check does not update the age."""
    state = watched.state
    if state is None or state.checked_at is None or state.latency_ms is None:
        return None
    # Without `asOf` in the payload, the state's time is only the clock of the service's store.
    has_as_of = "asOf" in (watched.payload or {})
    return LatestCheck(
        dom_key(state.service_id), state.checked_at, state.latency_ms, state.as_of if has_as_of else None
    )

"""What the pages read. The cursor comes first: what is committed in between is then seen twice, never missed."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from app.eventlog import reader as log
from app.eventlog.audience import Viewer
from app.infra.clock import utc_now
from app.infra.concurrency import yield_to_loop
from app.reconciliation import queries as reconciliation
from app.reconciliation.current_status import current_status
from app.reconciliation.queries import Watched
from app.web.dashboard.change_query import Asked
from app.web.dashboard.change_rows import UNLISTED_TYPES, ChangeRow, NameOf
from app.web.dashboard.view_models import Check, Tile, dom_key

SEARCH_PAGE = 100
SEARCHED = 2_000


def cursor(session: Session) -> int:
    return log.head(session)


def tiles(session: Session, interval: timedelta) -> list[Tile]:
    """A tile for each watched service, by name."""
    found = [tile_of(watched, interval) for watched in reconciliation.services(session)]
    return sorted(found, key=lambda tile: tile.sort_key)


@dataclass(frozen=True, slots=True)
class Found:
    """Rows that match. `looked_at`: how many changes were read for that, where there are older ones unread."""

    rows: list[ChangeRow]
    looked_at: int | None = None


def search(session: Session, viewer: Viewer, asked: Asked, limit: int, name_of: NameOf) -> Found:
    """The newest `limit` changes that match, in the order asked for; it reads no further back than `SEARCHED`."""
    rows: list[ChangeRow] = []
    before, seen, size = None, 0, SEARCH_PAGE if asked.search.terms else limit
    while True:
        page = log.read_newest_before(session, viewer, before, size, UNLISTED_TYPES)
        made = (ChangeRow.from_event(event, name_of) for event in page.events)
        rows += [row for row in made if asked.search.matches(row)]
        before, seen = page.cursor, seen + size
        if len(rows) >= limit or not page.full:
            return Found(asked.arranged(rows[:limit]))
        if seen >= SEARCHED:
            return Found(asked.arranged(rows), seen)
        yield_to_loop()


def tile_of(watched: Watched, interval: timedelta) -> Tile:
    found, payload = watched.service, watched.payload
    if payload is None:
        return Tile.unchecked(found.id, found.name)
    current = current_status(watched.state, payload, utc_now(), interval)
    return Tile.from_payload(found.id, found.name, payload, check=_check(watched), aged=current.is_aged)


def _check(watched: Watched) -> Check | None:
    """The newest look that was answered; one that failed moves no age."""
    state = watched.state
    if state is None or state.checked_at is None or state.latency_ms is None:
        return None
    dated = "asOf" in (watched.payload or {})  # otherwise it is no more than the clock of the service's store
    return Check(dom_key(state.service_id), state.checked_at, state.latency_ms, state.as_of if dated else None)

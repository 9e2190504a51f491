"""What the pages read. The cursor comes first: what is committed in between is then seen twice, never missed."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from app.clock import utc_now
from app.dashboard import wording
from app.dashboard.changes import UNLISTED_TYPES, ChangeRow, NameOf
from app.dashboard.contexts import Check, Tile, dom_key
from app.eventlog import read as log
from app.eventlog.audience import Viewer
from app.reconciliation import queries as reconciliation
from app.reconciliation.models import OpenItem
from app.reconciliation.queries import Watched


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A job that is missing or unaccounted for, and what Beacon last knew of it."""

    job_id: str
    kind: str
    word: str
    since: str
    known: str


@dataclass(frozen=True, slots=True)
class ServicePage:
    tile: Tile
    kind: str
    registered_at: str
    items: list[OpenRow]


def cursor(session: Session) -> int:
    return log.head(session)


def tiles(session: Session, aged_after: timedelta) -> list[Tile]:
    """A tile for each watched service, by name."""
    found = [_tile(watched, aged_after) for watched in reconciliation.services(session)]
    return sorted(found, key=lambda tile: tile.sort_key)


def changes(session: Session, viewer: Viewer, limit: int, name_of: NameOf) -> list[ChangeRow]:
    """The newest changes that `viewer` may see, newest first."""
    events = log.newest(session, viewer, limit, UNLISTED_TYPES)
    return [ChangeRow.from_event(event, name_of) for event in events]


def service(session: Session, service_id: str, aged_after: timedelta) -> ServicePage | None:
    watched = reconciliation.service(session, service_id)
    if watched is None:
        return None
    items = [_open_row(item) for item in reconciliation.open_items(session, service_id)]
    return ServicePage(_tile(watched, aged_after), watched.service.kind, watched.service.registered_at, items)


def _tile(watched: Watched, aged_after: timedelta) -> Tile:
    found, payload = watched.service, watched.payload
    if payload is None:
        return Tile.unchecked(found.id, found.name)
    check = _check(watched)
    return Tile.from_payload(found.id, found.name, payload, utc_now(), check=check, aged_after=aged_after)


def _check(watched: Watched) -> Check | None:
    """The newest look that was answered; one that failed moves no age."""
    state = watched.state
    if state is None or state.checked_at is None or state.latency_ms is None:
        return None
    return Check(dom_key(state.service_id), state.checked_at, state.latency_ms)


def _open_row(item: OpenItem) -> OpenRow:
    queue = f" in queue {item.queue}" if item.queue else ""
    known = f"was {item.last_state}{queue} when it was last seen"
    return OpenRow(item.job_id, item.kind, wording.finding_word(item.kind).capitalize(), item.since, known)

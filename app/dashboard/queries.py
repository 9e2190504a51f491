"""What the pages read. The cursor comes first: what is committed in between is then seen twice, never missed."""

import json
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.dashboard import wording
from app.dashboard.changes import UNLISTED_TYPES, ChangeRow, NameOf
from app.dashboard.contexts import Check, Tile, dom_key
from app.eventlog import read as log
from app.eventlog.audience import Viewer
from app.reconciliation.models import OpenItem, Service, ServiceState


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
    found = [_tile(service, state, aged_after) for service, state in session.execute(_watched())]
    return sorted(found, key=lambda tile: tile.sort_key)


def changes(session: Session, viewer: Viewer, limit: int, name_of: NameOf) -> list[ChangeRow]:
    """The newest changes that `viewer` may see, newest first."""
    events = log.newest(session, viewer, limit, UNLISTED_TYPES)
    return [ChangeRow.from_event(event, name_of) for event in events]


def service(session: Session, service_id: str, aged_after: timedelta) -> ServicePage | None:
    row = session.execute(_watched().where(Service.id == service_id)).one_or_none()
    if row is None:
        return None
    found, state = row
    items = [_open_row(item) for item in session.scalars(_open_items(service_id))]
    return ServicePage(_tile(found, state, aged_after), found.kind, found.registered_at, items)


def _watched() -> sa.Select[Service, ServiceState]:
    """Each with its state, which is None before the first look."""
    joined = sa.select(Service, ServiceState).outerjoin(ServiceState, ServiceState.service_id == Service.id)
    return joined.where(Service.removed_at.is_(None))


def _open_items(service_id: str) -> sa.Select[OpenItem]:
    still_open = sa.select(OpenItem).where(OpenItem.service_id == service_id, OpenItem.closed_at.is_(None))
    return still_open.order_by(OpenItem.since, OpenItem.job_id)


def _tile(found: Service, state: ServiceState | None, aged_after: timedelta) -> Tile:
    if state is None or state.payload_json is None:
        return Tile.unchecked(found.id, found.name)
    payload = json.loads(state.payload_json)
    check = None
    if state.checked_at is not None and state.latency_ms is not None:
        check = Check(dom_key(found.id), state.checked_at, state.latency_ms)
    return Tile.from_payload(found.id, found.name, payload, utc_now(), check=check, aged_after=aged_after)


def _open_row(item: OpenItem) -> OpenRow:
    queue = f" in queue {item.queue}" if item.queue else ""
    known = f"was {item.last_state}{queue} when it was last seen"
    return OpenRow(item.job_id, item.kind, wording.finding_word(item.kind), item.since, known)

"""Queries for pages and API: services with their state, open items and discrepancies."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.infra.clock import utc_now
from app.reconciliation.current_status import CurrentStatus, current_counts, current_status
from app.reconciliation.models import DiscrepancyEvent, OpenItem, Service, ServiceState

SortBy = Literal["timestamp", "service", "status", "latencyMs"]
SORTABLE: dict[SortBy, sa.orm.InstrumentedAttribute[Any]] = {
    "timestamp": DiscrepancyEvent.timestamp,
    "service": DiscrepancyEvent.service,
    "status": DiscrepancyEvent.status,
    "latencyMs": DiscrepancyEvent.latency_ms,
}


@dataclass(frozen=True, slots=True)
class ServiceWithState:
    """A watched service with its state; `state` is None before the first poll."""

    service: Service
    state: ServiceState | None

    @property
    def payload(self) -> dict[str, Any] | None:
        """Its newest `reconciliation.update`, as it was sent; None before the first."""
        if self.state is None or self.state.payload_json is None:
            return None
        payload: dict[str, Any] = json.loads(self.state.payload_json)
        return payload

    def current_status(self, poll_interval_s: float) -> CurrentStatus:
        interval = timedelta(seconds=poll_interval_s)
        return current_status(self.state, self.payload, utc_now(), interval, self.service.registered_at)

    def counts(self, poll_interval_s: float) -> tuple[Mapping[str, int] | None, str]:
        """The current counts; None and the reason if they are unknown."""
        return current_counts(self.current_status(poll_interval_s), self.payload)

    @property
    def not_told(self) -> Mapping[str, str]:
        """States without a count, each with the reason from the newest answer."""
        return (self.payload or {}).get("notTold") or {}

    @property
    def counts_as_of(self) -> Mapping[str, str]:
        """States whose count is older than the check, each with its time."""
        return (self.payload or {}).get("countsAsOf") or {}


@dataclass(frozen=True, slots=True)
class DiscrepancyFilter:
    """Which discrepancy events to return; `start` is included, `end` is not."""

    status: str | None = None
    service: str | None = None
    start: str | None = None
    end: str | None = None


def list_services(session: Session) -> list[ServiceWithState]:
    """Every watched service, by name."""
    return [ServiceWithState(service, state) for service, state in session.execute(_services_with_state())]


def find_service(session: Session, service_id: str) -> ServiceWithState | None:
    found = session.execute(_services_with_state().where(Service.id == service_id)).one_or_none()
    return None if found is None else ServiceWithState(found[0], found[1])


def list_open_items(session: Session, service_id: str) -> Sequence[OpenItem]:
    """The open items by kind (missing jobs before unaccounted ones), each kind oldest first."""
    mine = sa.select(OpenItem).where(OpenItem.service_id == service_id, OpenItem.closed_at.is_(None))
    return session.scalars(mine.order_by(OpenItem.kind, OpenItem.since, OpenItem.job_id)).all()


def read_discrepancies(
    session: Session, chosen: DiscrepancyFilter, sort_by: SortBy, *, descending: bool, page: int, limit: int
) -> tuple[Sequence[DiscrepancyEvent], int]:
    """One page of the record, and the total number of rows."""
    total = (
        session.scalar(sa.select(sa.func.count()).select_from(DiscrepancyEvent).where(*_filter_conditions(chosen))) or 0
    )
    columns = (SORTABLE[sort_by], DiscrepancyEvent.timestamp, DiscrepancyEvent.id)
    order = [column.desc() if descending else column.asc() for column in columns]
    query = sa.select(DiscrepancyEvent).where(*_filter_conditions(chosen)).order_by(*order)
    return session.scalars(query.limit(limit).offset((page - 1) * limit)).all(), total


def _services_with_state() -> sa.Select[Service, ServiceState]:
    joined = sa.select(Service, ServiceState).outerjoin(ServiceState, ServiceState.service_id == Service.id)
    return joined.where(Service.removed_at.is_(None)).order_by(Service.name, Service.id)


def _filter_conditions(chosen: DiscrepancyFilter) -> list[sa.ColumnElement[bool]]:
    wanted = []
    if chosen.status is not None:
        wanted.append(DiscrepancyEvent.status == chosen.status)
    if chosen.service is not None:
        wanted.append(DiscrepancyEvent.service == chosen.service)
    if chosen.start is not None:
        wanted.append(DiscrepancyEvent.timestamp >= chosen.start)
    if chosen.end is not None:
        wanted.append(DiscrepancyEvent.timestamp < chosen.end)
    return wanted

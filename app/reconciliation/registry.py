"""Which services are watched, where that is written down, and the `Source` that each of them gets."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask import current_app
from pydantic import ValidationError
from sqlalchemy.orm import Session, undefer

from app.clock import utc_text
from app.db import read
from app.reconciliation.models import KnownJob, OpenItem, Service, ServiceState
from app.reconciliation.observe import WatchedService
from app.sources.base import Address, Source
from app.sources.entry import ServiceEntry, build, parse_entry

NAMES_KEPT_S = 5.0
# Kind, address, options, password and its variable: a source is built anew where one of them changed.
_Settings = tuple[str, str, str, str | None, str | None]


class BadService(ValueError):
    """The service cannot be watched as asked; the text says what was expected."""


def watched(session: Session) -> list[Service]:
    """Every service that is watched now, by name."""
    return list(session.scalars(_watched()))


def _watched() -> sa.Select[Service]:
    return sa.select(Service).where(Service.removed_at.is_(None)).order_by(Service.name, Service.id)


def add(session: Session, *, id: str, name: str, kind: str, url: str, **options: Any) -> Service:  # noqa: A002 -- the field's name
    """Watch a service that is not watched yet. Raises `BadService`."""
    entry = _entry({"id": id, "name": name, "kind": kind, "url": url, **options})
    row = session.get(Service, entry.id)
    if row is not None and row.removed_at is None:
        raise BadService(f"a service {entry.id} is watched already; beacon service list shows all")
    return _write(session, entry, "admin")


def put(session: Session, *, id: str, name: str, kind: str, url: str, **options: Any) -> Service:  # noqa: A002 -- the field's name
    """Watch a service, or change how. What is known of it stays, unless it becomes another kind of service."""
    return _write(session, _entry({"id": id, "name": name, "kind": kind, "url": url, **options}), "admin")


def remove(session: Session, service_id: str, by: str) -> None:
    """Watch it no longer. What was believed is forgotten; what was recorded stays. Raises `BadService`."""
    row = session.get(Service, service_id)
    if row is None or row.removed_at is not None:
        raise BadService(f"no service {service_id} is watched; beacon service list shows all")
    row.removed_at = utc_text()
    _forget(session, service_id, by)


def sync_from_file(session: Session, entries: Iterable[ServiceEntry]) -> None:
    """Watch what the file names, and of what it named before nothing else. Others, added by people, stay."""
    named = {entry.id: entry for entry in entries}
    for entry in named.values():
        _write(session, entry, "file")
    for row in watched(session):
        if row.origin == "file" and row.id not in named:
            remove(session, row.id, "the services file")


def name_of(service_id: str) -> str:
    """The name that people see; the id of a service that is not watched. Asked at every rendered event, hence kept."""
    kept = current_app.extensions.get("beacon_service_names")
    if kept is None or kept.until < time.monotonic():
        with read() as session:
            names = {row.id: row.name for row in watched(session)}
        kept = current_app.extensions["beacon_service_names"] = _Names(names, time.monotonic() + NAMES_KEPT_S)
    found: str = kept.names.get(service_id, service_id)
    return found


class Sources:
    """The services to poll, each with its source, which lives as long as its settings stand."""

    def __init__(self, job_list_bound: int) -> None:
        self._bound = job_list_bound
        self._built: dict[str, tuple[_Settings, WatchedService]] = {}

    def watched(self) -> list[WatchedService]:
        with read() as session:
            rows = session.scalars(_watched().options(undefer(Service.password)))
            self._built = {row.id: self._service(row) for row in rows}
        return [service for _, service in self._built.values()]

    def _service(self, row: Service) -> tuple[_Settings, WatchedService]:
        settings = (row.kind, row.url, row.options_json, row.password, row.password_env)
        built = self._built.get(row.id)
        if built is not None and built[0] == settings:
            return built
        return settings, WatchedService(row.id, build_source(row, self._bound))


def build_source(row: Service, job_list_bound: int) -> Source:
    """Connects to nothing yet. One that cannot be used here says so when it is asked."""
    address = Address(row.url, row.password)
    return build(row.kind, address, json.loads(row.options_json), row.password_env, job_list_bound)


@dataclass(frozen=True, slots=True)
class _Names:
    names: Mapping[str, str]
    until: float


def _entry(given: Mapping[str, Any]) -> ServiceEntry:
    try:
        return parse_entry(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "service"
        # Not from the error: it holds what was given, and that may hold a password.
        raise BadService(f"{field}: {first['msg'].removeprefix('Value error, ')}") from None


def _write(session: Session, entry: ServiceEntry, origin: str) -> Service:
    row = session.get(Service, entry.id)
    if row is None:
        row = Service(id=entry.id, registered_at=utc_text(), kind=entry.kind)
        session.add(row)
    elif row.removed_at is not None:
        row.registered_at, row.removed_at = utc_text(), None
    elif row.kind != entry.kind:
        _forget(session, entry.id, origin)
    row.name, row.kind, row.url, row.origin = entry.name, entry.kind, entry.url, origin
    row.password, row.password_env = entry.password, entry.password_env
    row.options_json = entry.options.model_dump_json()
    session.flush()
    return row


def _forget(session: Session, service_id: str, by: str) -> None:
    session.execute(sa.delete(KnownJob).where(KnownJob.service_id == service_id))
    session.execute(sa.delete(ServiceState).where(ServiceState.service_id == service_id))
    closing = {"closed_at": utc_text(), "closed_how": "accepted", "closed_by": by}
    still_open = sa.update(OpenItem).where(OpenItem.service_id == service_id, OpenItem.closed_at.is_(None))
    session.execute(still_open.values(**closing, close_reason="the service is no longer watched"))

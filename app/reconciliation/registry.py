"""Registers the watched services in the database, and builds a `Source` for each."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, undefer

from app.components import components
from app.config import current_settings
from app.db import read
from app.infra.clock import utc_text
from app.infra.concurrency import yield_to_loop
from app.reconciliation.models import KnownJob, OpenItem, Service, ServiceState
from app.reconciliation.observer import WatchedService
from app.sources.host_rules import HostRules, Reach, parse_networks
from app.sources.protocol import Capabilities, ServiceAddress, Source
from app.sources.service_config import ServiceEntry, create_source, parse_entry
from app.sources.unavailable import UnavailableSource

log = logging.getLogger(__name__)

NAME_CACHE_S = 5.0
JOBS_DELETED_PER_STATEMENT = 1_000
# Kind, address, options, password, its variable, and origin: the source is rebuilt if one of them changes.
_Settings = tuple[str, str, str, str | None, str | None, str]


class InvalidService(ValueError):
    """The service cannot be watched like this. The text says what was expected, `errors` say it for each field."""

    def __init__(self, text: str, errors: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.errors = dict(errors or {})


class ServiceIdTaken(InvalidService):
    """A service with this id exists already."""


class ServiceNotFound(InvalidService):
    """No service with this id is watched."""


def list_services(session: Session) -> list[Service]:
    """All watched services, by name."""
    return list(session.scalars(_select_services()))


def _select_services() -> sa.Select[Service]:
    return sa.select(Service).where(Service.removed_at.is_(None)).order_by(Service.name, Service.id)


def add(session: Session, *, id: str, name: str, kind: str, url: str, **options: Any) -> Service:  # noqa: A002 -- the field's name
    """Watch a new service. Raises `InvalidService`."""
    return watch(session, parse_service({"id": id, "name": name, "kind": kind, "url": url, **options}))


def watch(session: Session, entry: ServiceEntry) -> Service:
    """Like `add`, for a parsed entry. Raises `ServiceIdTaken`."""
    row = session.get(Service, entry.id)
    text = f"a service {entry.id} is watched already; beacon service list shows all"
    if row is not None and row.removed_at is None:
        raise ServiceIdTaken(text, {"id": "is taken; choose another one"})
    try:
        return write_row(session, entry, "admin")
    except IntegrityError as error:  # on PostgreSQL two requests may race
        raise ServiceIdTaken(text, {"id": "is taken; choose another one"}) from error


def put(session: Session, *, id: str, name: str, kind: str, url: str, **options: Any) -> Service:  # noqa: A002 -- the field's name
    """Watch a service, or change it. Its known state stays, unless its kind changes."""
    return write_row(session, parse_service({"id": id, "name": name, "kind": kind, "url": url, **options}), "admin")


def remove(session: Session, service_id: str, by: str) -> None:
    """Stop watching the service. Its known state is deleted; its record stays. Raises `ServiceNotFound`."""
    row = find(session, service_id)
    row.removed_at = utc_text()
    row.password = None
    _delete_known_state(session, service_id, by, "the service is no longer watched")


def find(session: Session, service_id: str, *, lock: bool = False) -> Service:
    """A watched service. Raises `ServiceNotFound`."""
    row = session.get(Service, service_id, with_for_update={"key_share": True} if lock else None)
    if row is None or row.removed_at is not None:
        raise ServiceNotFound(f"no service {service_id} is watched; beacon service list shows all")
    return row


def service_name(service_id: str) -> str:
    """The display name; the id for a service that is not watched. Cached, because every rendered event needs it."""
    kept = components().service_names
    if kept is None or kept.until < time.monotonic():
        with read() as session:
            names = {row.id: row.name for row in list_services(session)}
        kept = components().service_names = ServiceNames(names, time.monotonic() + NAME_CACHE_S)
    found: str = kept.names.get(service_id, service_id)
    return found


class SourceRegistry:
    """The services to poll, each with its source. A source lives until its settings change."""

    def __init__(self, job_list_bound: int) -> None:
        self._bound = job_list_bound
        self._built: dict[str, tuple[_Settings, WatchedService]] = {}
        self._changing = threading.Lock()

    def list_watched(self) -> list[WatchedService]:
        with read() as session:
            rows = session.scalars(_select_services().options(undefer(Service.password))).all()
        with self._changing:
            self._built = {row.id: self._service(row) for row in rows}
            return [service for _, service in self._built.values()]

    def close(self) -> None:
        """Close all connections and threads; the next `list_watched` creates new ones."""
        built, self._built = self._built, {}
        for _, service in built.values():
            _close(service)

    def close_service(self, service: WatchedService) -> None:
        """Close a source that no poll uses any more: it was replaced or removed, or this process no longer polls."""
        with self._changing:
            built = self._built.get(service.id)
            if built is not None and built[1] is service:
                del self._built[service.id]
        _close(service)

    def _service(self, row: Service) -> tuple[_Settings, WatchedService]:
        settings = (row.kind, row.url, row.options_json, row.password, row.password_env, row.origin)
        built = self._built.get(row.id)
        if built is not None and built[0] == settings:
            return built
        return settings, WatchedService(row.id, build_source(row, self._bound))


def _close(service: WatchedService) -> None:
    with suppress(Exception):  # one failure must not keep the other sources open
        service.source.close()


def build_source(row: Service, job_list_bound: int) -> Source:
    """Does not connect yet. A source that cannot be used here reports that when it is called."""
    return source_maker(row, job_list_bound)()


def source_maker(row: Service, job_list_bound: int) -> Callable[[], Source]:
    """A function that builds a source later, on another thread: everything it needs of the row is read now."""
    rules = host_rules()
    reach = replace(rules.reach, sockets=None) if row.origin == "file" else rules.reach
    address = ServiceAddress(row.url, row.password, reach)
    options = json.loads(row.options_json)
    return partial(create_source, row.kind, address, options, row.password_env, job_list_bound, _rules_for(row, rules))


def capabilities_of(row: Service) -> Capabilities:
    """What the service's source can do. Needs neither its password nor a connection."""
    rules = _rules_for(row, host_rules())
    source = create_source(row.kind, ServiceAddress(row.url), json.loads(row.options_json), row.password_env, 1, rules)
    try:
        return source.capabilities
    except Exception as error:  # noqa: BLE001 -- one broken plugin must not hide all services
        log.error("cannot read the capabilities of service_id=%s kind=%s: %s", row.id, row.kind, type(error).__name__)
        return UnavailableSource("cannot say what it can do").capabilities
    finally:
        source.close()


def host_rules() -> HostRules:
    """What this host allows services to use."""
    settings = current_settings()
    return HostRules(
        settings.password_env_prefixes, Reach(parse_networks(settings.allowed_networks), settings.allowed_sockets)
    )


def explain_refused_variable(row: Service) -> str | None:
    """Why the environment variable of its password is refused, and what to do; None if it is allowed."""
    rules = _rules_for(row, host_rules())
    return rules.refused_variable(row.password_env) if rules and row.password_env else None


def _rules_for(row: Service, rules: HostRules) -> HostRules | None:
    """The services file belongs to the host, so its services may have what is the host's."""
    return None if row.origin == "file" else rules


@dataclass(frozen=True, slots=True)
class ServiceNames:
    names: Mapping[str, str]
    until: float


def parse_service(given: Mapping[str, Any]) -> ServiceEntry:
    """Validate a service by its kind and by the host's rules. Raises `InvalidService`."""
    try:
        entry = parse_entry(given)
    except ValidationError as error:
        raise _invalid_service(group_errors_by_field(error)) from None
    wrong = _check_host_rules(host_rules(), entry)
    if wrong:
        raise _invalid_service(wrong)
    return entry


def _check_host_rules(rules: HostRules, entry: ServiceEntry) -> dict[str, str]:
    """What the host does not allow, by field. Host names are resolved only when connecting."""
    variable = rules.refused_variable(entry.password_env) if entry.password_env else None
    parts = urlsplit(entry.url)
    if parts.scheme == "unix":
        address = rules.reach.explain_refused_socket(unquote(parts.path))
    else:
        address = rules.reach.explain_refusal(parts.hostname or "")
    found = {"password_env": variable, "url": address and f"the service {address}"}
    return {name: said for name, said in found.items() if said}


def _invalid_service(errors: Mapping[str, str]) -> InvalidService:
    return InvalidService("; ".join(f"{name}: {said}" for name, said in errors.items()), errors)


def group_errors_by_field(error: ValidationError) -> dict[str, str]:
    """The errors by field; if several types are allowed, what each of them expects."""
    found: dict[str, list[str]] = {}
    for item in error.errors():
        found.setdefault(str(item["loc"][0]) if item["loc"] else "service", []).append(item["msg"])
    return {name: "; or: ".join(dict.fromkeys(said)) for name, said in found.items()}


def write_row(session: Session, entry: ServiceEntry, origin: str, by: str = "an administrator") -> Service:
    row = session.get(Service, entry.id)
    if row is None:
        row = Service(id=entry.id, registered_at=utc_text(), kind=entry.kind)
        session.add(row)
    elif row.removed_at is not None:
        row.registered_at, row.removed_at = utc_text(), None
    elif row.kind != entry.kind:
        _delete_known_state(session, entry.id, by, f"the service became one of the kind {entry.kind}")
    row.name, row.kind, row.url, row.origin = entry.name, entry.kind, entry.url, origin
    row.password, row.password_env = entry.password, entry.password_env
    row.options_json = entry.options.model_dump_json()
    session.flush()
    return row


def _delete_known_state(session: Session, service_id: str, by: str, why: str) -> None:
    mine = sa.select(KnownJob.job_id).where(KnownJob.service_id == service_id).limit(JOBS_DELETED_PER_STATEMENT)
    some = sa.delete(KnownJob).where(KnownJob.service_id == service_id, KnownJob.job_id.in_(mine))
    while session.connection().execute(some).rowcount:
        yield_to_loop()
    session.execute(sa.delete(ServiceState).where(ServiceState.service_id == service_id))
    closing = {"closed_at": utc_text(), "closed_how": "accepted", "closed_by": by}
    still_open = sa.update(OpenItem).where(OpenItem.service_id == service_id, OpenItem.closed_at.is_(None))
    session.execute(still_open.values(**closing, close_reason=why))

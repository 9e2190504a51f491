"""Which services are watched, where that is written down, and the `Source` that each of them gets."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import current_app
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, undefer

from app.config import current_settings
from app.db import read
from app.infra.clock import utc_text
from app.infra.concurrency import yield_to_loop
from app.reconciliation.models import KnownJob, OpenItem, Service, ServiceState
from app.reconciliation.observer import WatchedService
from app.sources.host_rules import HostRules, Reach, parse_networks
from app.sources.protocol import Address, Capabilities, Source
from app.sources.service_config import ServiceEntry, build, parse_entry
from app.sources.unavailable import Unusable

log = logging.getLogger(__name__)

NAMES_KEPT_S = 5.0
FORGOTTEN_AT_ONCE = 1_000  # rows, between two breaths
# Kind, address, options, password, its variable, and who rules them: a source is built anew where one of them changed.
_Settings = tuple[str, str, str, str | None, str | None, str]


class BadService(ValueError):
    """The service cannot be watched as asked; the text says what was expected, `errors` the same for each field."""

    def __init__(self, text: str, errors: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.errors = dict(errors or {})


class Taken(BadService):
    """There is a service of this id already."""


class NotWatched(BadService):
    """There is no such service."""


def watched(session: Session) -> list[Service]:
    """Every service that is watched now, by name."""
    return list(session.scalars(_watched()))


def _watched() -> sa.Select[Service]:
    return sa.select(Service).where(Service.removed_at.is_(None)).order_by(Service.name, Service.id)


def add(session: Session, *, id: str, name: str, kind: str, url: str, **options: Any) -> Service:  # noqa: A002 -- the field's name
    """Watch a service that is not watched yet. Raises `BadService`."""
    return watch(session, parsed({"id": id, "name": name, "kind": kind, "url": url, **options}))


def watch(session: Session, entry: ServiceEntry) -> Service:
    """Like `add`, for what is parsed. Raises `Taken`."""
    row = session.get(Service, entry.id)
    text = f"a service {entry.id} is watched already; beacon service list shows all"
    if row is not None and row.removed_at is None:
        raise Taken(text, {"id": "is taken; choose another one"})
    try:
        return write_row(session, entry, "admin")
    except IntegrityError as error:  # on PostgreSQL two may ask at once
        raise Taken(text, {"id": "is taken; choose another one"}) from error


def put(session: Session, *, id: str, name: str, kind: str, url: str, **options: Any) -> Service:  # noqa: A002 -- the field's name
    """Watch a service, or change how. What is known of it stays, unless it becomes another kind of service."""
    return write_row(session, parsed({"id": id, "name": name, "kind": kind, "url": url, **options}), "admin")


def remove(session: Session, service_id: str, by: str) -> None:
    """Watch it no longer. What was believed is forgotten; what was recorded stays. Raises `NotWatched`."""
    row = find(session, service_id)
    row.removed_at = utc_text()
    row.password = None
    _forget(session, service_id, by, "the service is no longer watched")


def find(session: Session, service_id: str, *, lock: bool = False) -> Service:
    """A service that is watched. Raises `NotWatched`."""
    row = session.get(Service, service_id, with_for_update={"key_share": True} if lock else None)
    if row is None or row.removed_at is not None:
        raise NotWatched(f"no service {service_id} is watched; beacon service list shows all")
    return row


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

    def close(self) -> None:
        """Give up their connections and threads; the next `watched` makes new ones."""
        built, self._built = self._built, {}
        for _, service in built.values():
            _close(service)

    def let_go(self, service: WatchedService) -> None:
        """Of one that no poll uses any more: it was replaced or removed, or this process no longer polls."""
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
    with suppress(Exception):  # a source that cannot be closed must not keep the others open
        service.source.close()


def build_source(row: Service, job_list_bound: int) -> Source:
    """Connects to nothing yet. One that cannot be used here says so when it is asked."""
    return source_maker(row, job_list_bound)()


def source_maker(row: Service, job_list_bound: int) -> Callable[[], Source]:
    """Makes a source of one's own, later and elsewhere: all of the row that it needs is read now."""
    rules = host_rules()
    address = Address(row.url, row.password, rules.reach)
    options = json.loads(row.options_json)
    return partial(build, row.kind, address, options, row.password_env, job_list_bound, _rules_for(row, rules))


def capabilities_of(row: Service) -> Capabilities:
    """What its source can do; neither its password nor the service itself is needed for that."""
    rules = _rules_for(row, host_rules())
    source = build(row.kind, Address(row.url), json.loads(row.options_json), row.password_env, 1, rules)
    try:
        return source.capabilities
    except Exception as error:  # noqa: BLE001 -- one that a person wrote last night must not hide all others
        log.error("a source of the kind %s cannot say what it can do: %s", row.kind, type(error).__name__)
        return Unusable("cannot say what it can do").capabilities
    finally:
        source.close()


def host_rules() -> HostRules:
    """What this host lets services have."""
    settings = current_settings()
    return HostRules(settings.password_env_prefixes, Reach(parse_networks(settings.allowed_networks)))


def refused_variable(row: Service) -> str | None:
    """Why its password is not taken from the variable that it names, and what to do; None where it may be."""
    rules = _rules_for(row, host_rules())
    return rules.refused_variable(row.password_env) if rules and row.password_env else None


def _rules_for(row: Service, rules: HostRules) -> HostRules | None:
    """The services file is the host's own word."""
    return None if row.origin == "file" else rules


@dataclass(frozen=True, slots=True)
class _Names:
    names: Mapping[str, str]
    until: float


def parsed(given: Mapping[str, Any]) -> ServiceEntry:
    """What a person gave, checked by its kind and by the host's rules. Raises `BadService`."""
    try:
        entry = parse_entry(given)
    except ValidationError as error:
        raise _bad(faults(error)) from None
    wrong = _against(host_rules(), entry)
    if wrong:
        raise _bad(wrong)
    return entry


def _against(rules: HostRules, entry: ServiceEntry) -> dict[str, str]:
    """What the host does not allow of it, by field. A name is looked up at each connect, and only there."""
    variable = rules.refused_variable(entry.password_env) if entry.password_env else None
    address = rules.reach.refusal(urlsplit(entry.url).hostname or "")
    found = {"password_env": variable, "url": address and f"the service {address}"}
    return {name: said for name, said in found.items() if said}


def _bad(errors: Mapping[str, str]) -> BadService:
    return BadService("; ".join(f"{name}: {said}" for name, said in errors.items()), errors)


def faults(error: ValidationError) -> dict[str, str]:
    """What is wrong, by field; of one that may be several things, what each of them expects."""
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
        _forget(session, entry.id, by, f"the service became one of the kind {entry.kind}")
    row.name, row.kind, row.url, row.origin = entry.name, entry.kind, entry.url, origin
    row.password, row.password_env = entry.password, entry.password_env
    row.options_json = entry.options.model_dump_json()
    session.flush()
    return row


def _forget(session: Session, service_id: str, by: str, why: str) -> None:
    mine = sa.select(KnownJob.job_id).where(KnownJob.service_id == service_id).limit(FORGOTTEN_AT_ONCE)
    some = sa.delete(KnownJob).where(KnownJob.service_id == service_id, KnownJob.job_id.in_(mine))
    while session.connection().execute(some).rowcount:
        yield_to_loop()
    session.execute(sa.delete(ServiceState).where(ServiceState.service_id == service_id))
    closing = {"closed_at": utc_text(), "closed_how": "accepted", "closed_by": by}
    still_open = sa.update(OpenItem).where(OpenItem.service_id == service_id, OpenItem.closed_at.is_(None))
    session.execute(still_open.values(**closing, close_reason=why))

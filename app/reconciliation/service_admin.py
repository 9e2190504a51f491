"""Changes services for administrators: each change is validated, written and audited in one transaction.

No audit entry and no exception holds a password: they say only whether there is one, and where it comes from.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import chain
from app.infra.redaction import SecretDescription
from app.reconciliation import registry, service_revision
from app.reconciliation.models import DiscrepancyEvent, KnownJob, OpenItem, Service
from app.sources.service_config import ServiceEntry

FILE_ACTOR = "the services file"
PASSWORD_FIELDS = ("password", "password_env")
# The stored password was given for its address; the person who changes the address may not know it.
PASSWORD_REQUIRED = "a new address needs the password again: enter it, or remove the stored one"  # noqa: S105 -- a sentence


class ManagedByFile(registry.InvalidService):
    """The services file defines it: a change made elsewhere would be undone at the next start."""

    def __init__(self, service_id: str) -> None:
        super().__init__(f"{service_id} is defined in the services file: change it there and restart Beacon")


def add(session: Session, given: Mapping[str, Any], by: str) -> Service:
    """Watch a service. Raises `InvalidService`, `ServiceIdTaken`."""
    row = registry.watch(session, registry.parse_service(given))
    chain.record(session, chain.Entry(by, "service-add", row.id, after=describe_for_audit(row)))
    return row


def change(
    session: Session, service_id: str, given: Mapping[str, Any], by: str, expected: int | None = None
) -> Service:
    """Change the keys in `given`; None resets a key to its default. `expected` is the revision that the user saw.

    Raises `InvalidService`, `ServiceNotFound`, and `RevisionConflict` if the revision has changed.
    """
    row = _lock_editable(session, service_id)
    entry = _parse_change(row, given)
    service_revision.check_revision(session, service_id, expected)
    entry = _keep_password(row, entry, given)
    _record(session, [_rewrite(session, row, entry, "admin", by)])
    return row


def put(session: Session, entry: ServiceEntry, by: str) -> None:
    """Watch a service, or change it; its known state stays."""
    _record(session, [_put(session, entry, "admin", by)])


def remove(session: Session, service_id: str, by: str, expected: int | None = None) -> None:
    """Stop watching it. Raises `ServiceNotFound`, `ManagedByFile`, `RevisionConflict` if not at `expected`."""
    row = _lock_editable(session, service_id)
    service_revision.check_revision(session, service_id, expected)
    _record(session, [_remove(session, row, by)])


def sync_from_file(session: Session, entries: Iterable[ServiceEntry]) -> None:
    """Watch the services of the file, and stop watching those it no longer has. Services added by people stay.

    Only differences are audited: every start reads the file.
    """
    named = {entry.id: entry for entry in entries}
    done = [_put(session, entry, "file", FILE_ACTOR) for entry in named.values()]
    gone = [row for row in registry.list_services(session) if row.origin == "file" and row.id not in named]
    done += [_remove(session, row, FILE_ACTOR) for row in gone]
    _record(session, done)


def _record(session: Session, done: Iterable[chain.Entry | None]) -> None:
    """Write the audit entries after all rows, so that the audit chain is locked only briefly."""
    for entry in done:
        if entry is not None:
            chain.record(session, entry)


def _put(session: Session, entry: ServiceEntry, origin: str, by: str) -> chain.Entry | None:
    row = session.get(Service, entry.id)
    if row is not None and row.removed_at is None:
        return _rewrite(session, row, entry, origin, by)
    row = registry.write_row(session, entry, origin, by)
    return chain.Entry(by, "service-add", row.id, after=describe_for_audit(row))


def _rewrite(session: Session, row: Service, entry: ServiceEntry, origin: str, by: str) -> chain.Entry | None:
    """Write the row; None if nothing differs."""
    before, secrets, ruled_by = describe_for_audit(row), (row.password, row.password_env), row.origin
    registry.write_row(session, entry, origin, by)
    after = describe_for_audit(row)
    changed = [name for name, value in after.items() if before[name] != value]
    if secrets != (row.password, row.password_env) and "password" not in changed:
        changed.append("password")
    if ruled_by != row.origin:
        changed.append("origin")
    if not changed:
        return None
    return chain.Entry(by, "service-change", row.id, before=before, after=after, params={"changed": changed})


def _remove(session: Session, row: Service, by: str) -> chain.Entry:
    before = describe_for_audit(row)
    registry.remove(session, row.id, by)
    return chain.Entry(by, "service-remove", row.id, before=before)


def describe_for_audit(row: Service) -> dict[str, Any]:
    """A service for the audit: of its password only whether there is one, and where it comes from."""
    return {
        "name": row.name,
        "kind": row.kind,
        "url": row.url,
        "options": json.loads(row.options_json),
        "password": describe_password(row),
    }


def describe_password(row: Service) -> SecretDescription | None:
    if row.password_env is not None:
        return SecretDescription(f"from the environment variable {row.password_env}")
    return None if row.password is None else SecretDescription("kept")


def count_dependents(session: Session, service_id: str) -> dict[str, int]:
    """What belongs to a service, to be shown before it is removed."""

    def count(column: sa.orm.InstrumentedAttribute[Any], *wanted: sa.ColumnElement[bool]) -> int:
        return session.scalar(sa.select(sa.func.count()).where(column == service_id, *wanted)) or 0

    return {
        "known": count(KnownJob.service_id),
        "open": count(OpenItem.service_id, OpenItem.closed_at.is_(None)),
        "recorded": count(DiscrepancyEvent.service),
    }


def _lock_editable(session: Session, service_id: str) -> Service:
    """The service, locked, so that the next change sees this one. Raises `ManagedByFile`."""
    row = registry.find(session, service_id, lock=True)
    if row.origin == "file":
        raise ManagedByFile(service_id)
    return row


def _parse_change(row: Service, given: Mapping[str, Any]) -> ServiceEntry:
    if given.get("id", row.id) != row.id:
        text = "cannot be changed: remove the service and add it under its new id"
        raise registry.InvalidService(f"id: {text}", {"id": text})
    kept: dict[str, Any] = {"id": row.id, "name": row.name, "kind": row.kind, "url": row.url}
    if given.get("kind", row.kind) == row.kind:  # another kind has other options
        kept |= json.loads(row.options_json)
    wanted = {name: value for name, value in {**kept, **given}.items() if value is not None}
    return registry.parse_service(wanted)


def _keep_password(row: Service, entry: ServiceEntry, given: Mapping[str, Any]) -> ServiceEntry:
    """The entry with the stored password, if `given` has none."""
    if entry.password is not None or entry.password_env is not None:
        return entry
    unnamed = {name: getattr(row, name) for name in PASSWORD_FIELDS if name not in given}
    if unnamed.get("password") is not None and _entry_places(entry) != _row_places(row):
        raise registry.InvalidService(f"password: {PASSWORD_REQUIRED}", {"password": PASSWORD_REQUIRED})
    return replace(entry, **unnamed)


def _row_places(row: Service) -> tuple[str, ...]:
    return _places(row.kind, row.url, json.loads(row.options_json))


def _entry_places(entry: ServiceEntry) -> tuple[str, ...]:
    return _places(entry.kind, entry.url, json.loads(entry.options.model_dump_json()))


def _places(kind: str, url: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Every place the password is sent to: an option may name another address."""
    return kind, url, *sorted(f"{name} {value}" for name, value in options.items() if "://" in str(value))

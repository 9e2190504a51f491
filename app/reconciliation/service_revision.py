"""Reads from the audit who changed a service's settings, so that nobody overwrites changes they have not seen.

A revision is the number of the newest audit entry about the settings. It tells versions apart even if the settings
changed and changed back, or if only the password differs.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit.models import AuditRow
from app.infra import redaction
from app.infra.clock import display_text, parse_utc
from app.reconciliation.registry import InvalidService

SETTINGS_ACTIONS = ("service-add", "service-change", "service-remove")
MAX_REVISION, MAX_REVISION_DIGITS = 2**53, 15  # the largest integer that JSON readers handle
MAX_LISTED_CHANGES = 20  # in one message; the audit has all
REVISION_EXPECTED = "must be the revision that you saw, a whole number"
_ABOUT_SETTINGS = (AuditRow.action_type.in_(SETTINGS_ACTIONS), AuditRow.outcome == "success")


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """One audit entry. `fields` are `(name, before, after)` as display text, without any password."""

    at: str
    actor: str
    action: str
    fields: Sequence[tuple[str, str, str]] = ()

    @classmethod
    def from_row(cls, row: AuditRow) -> Self:
        if row.action_type != "service-change":
            return cls(row.timestamp, row.actor, row.action_type)
        before, after = _flatten_settings(row.before_state_json), _flatten_settings(row.after_state_json)
        differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        named = [name for name in _changed_names(row) if name not in differing and name != "options"]
        fields = [
            (name, _format_value(before.get(name)), _format_value(after.get(name))) for name in (*differing, *named)
        ]
        return cls(row.timestamp, row.actor, row.action_type, fields)

    @property
    def summary(self) -> str:
        """`changed name and url`, `removed it`"""
        if self.action == "service-add":
            return "added it again"
        if self.action == "service-remove":
            return "removed it"
        return f"changed {' and '.join(name for name, _before, _after in self.fields) or 'it'}"

    def as_json(self) -> dict[str, Any]:
        fields = [{"name": name, "before": before, "after": after} for name, before, after in self.fields]
        return {"at": self.at, "actor": self.actor, "action": self.action, "fields": fields}


class RevisionConflict(InvalidService):
    """Somebody changed the service after it was read. `changes`, newest first, say who changed what."""

    def __init__(self, service_id: str, changes: Sequence[SettingsChange]) -> None:
        super().__init__(f"{describe_changes(changes)} Nothing was changed. Check the service, then try again.")
        self.service_id, self.changes = service_id, changes


def describe_changes(changes: Sequence[SettingsChange]) -> str:
    """`bea changed name at 2026-11-21 12:00:00 UTC.`"""
    if not changes:
        return "The service never had this revision."
    newest = changes[0]
    more = f" There are {len(changes) - 1} more changes since then." if len(changes) > 1 else ""
    return f"{newest.actor} {newest.summary} at {display_text(parse_utc(newest.at))}.{more}"


def read_revision(session: Session, service_id: str) -> int:
    """The current revision; 0 if the audit has no entry about the service."""
    query = sa.select(sa.func.max(AuditRow.seq)).where(
        AuditRow.target == redaction.redact_text(service_id), *_ABOUT_SETTINGS
    )
    return session.scalar(query) or 0


def read_revisions(session: Session, service_ids: Iterable[str]) -> Mapping[str, int]:
    query = sa.select(AuditRow.target, sa.func.max(AuditRow.seq).label("newest")).where(*_ABOUT_SETTINGS)
    found = {row.target: row.newest for row in session.execute(query.group_by(AuditRow.target))}
    return {service_id: found.get(redaction.redact_text(service_id), 0) for service_id in service_ids}


def check_revision(session: Session, service_id: str, expected: int | None) -> None:
    """Raise `RevisionConflict` if the service is not at `expected`; None accepts any revision.

    Call it inside `db.write()`, with the row of the service locked. Entries that retention has deleted since do not
    count as changes. A number that the audit has not reached yet is rejected.
    """
    if expected is None:
        return
    changes = list_changes_since(session, service_id, expected)
    newest = session.scalar(sa.select(sa.func.max(AuditRow.seq))) or 0
    if changes or expected > newest:
        raise RevisionConflict(service_id, changes)


def list_changes_since(session: Session, service_id: str, seen: int) -> list[SettingsChange]:
    """The changes after the revision `seen`, newest first."""
    query = sa.select(AuditRow).where(
        AuditRow.target == redaction.redact_text(service_id), AuditRow.seq > seen, *_ABOUT_SETTINGS
    )
    rows = session.scalars(query.order_by(AuditRow.seq.desc()).limit(MAX_LISTED_CHANGES))
    return [SettingsChange.from_row(row) for row in rows]


def parse_revision(given: object) -> int | None:
    """Parse a revision from a form, an address or JSON. Raises `InvalidService`."""
    if given in (None, ""):
        return None
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < MAX_REVISION:
        return given
    if isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) <= MAX_REVISION_DIGITS:
        return int(given)
    raise InvalidService(f"expected: {REVISION_EXPECTED}", {"expected": REVISION_EXPECTED})


def _flatten_settings(text: str | None) -> dict[str, Any]:
    """The settings by field name, options included."""
    found: dict[str, Any] = json.loads(text) if text else {}
    return {name: value for name, value in found.items() if name != "options"} | dict(found.get("options") or {})


def _changed_names(row: AuditRow) -> list[str]:
    params = json.loads(row.command_params_json or "{}")
    return [str(name) for name in params.get("changed") or []]


def _format_value(value: Any) -> str:
    if value is None or value == "":
        return "—"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

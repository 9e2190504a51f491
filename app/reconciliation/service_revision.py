"""Who changed the settings of a service, read from the audit: nobody saves over what they have not seen.

A revision is the number of the newest entry about the settings. It says what somebody saw, also where the settings
went and came back, or where only the password is another one.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import redaction
from app.audit.models import AuditRow
from app.reconciliation.registry import BadService

ACTIONS = ("service-add", "service-change", "service-remove")
MAX_REVISION, MAX_DIGITS = 2**53, 15  # what JSON can say as a number
MAX_CHANGES = 20  # told at once; the audit has all of them
WRONG = "expected the revision that you saw, a whole number"
_ABOUT_SETTINGS = (AuditRow.action_type.in_(ACTIONS), AuditRow.outcome == "success")


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """One entry. `fields` are `(name, before, after)` as people read them; a password only says where it comes from."""

    at: str
    actor: str
    action: str
    fields: Sequence[tuple[str, str, str]] = ()

    @classmethod
    def of(cls, row: AuditRow) -> Self:
        if row.action_type != "service-change":
            return cls(row.timestamp, row.actor, row.action_type)
        before, after = _flat(row.before_state_json), _flat(row.after_state_json)
        differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        named = [name for name in _changed(row) if name not in differing and name != "options"]
        fields = [(name, _text(before.get(name)), _text(after.get(name))) for name in (*differing, *named)]
        return cls(row.timestamp, row.actor, row.action_type, fields)

    @property
    def words(self) -> str:
        """`changed name and url`, `removed it`"""
        if self.action == "service-add":
            return "added it again"
        if self.action == "service-remove":
            return "removed it"
        return f"changed {' and '.join(name for name, _before, _after in self.fields) or 'it'}"

    def as_json(self) -> dict[str, Any]:
        fields = [{"name": name, "before": before, "after": after} for name, before, after in self.fields]
        return {"at": self.at, "actor": self.actor, "action": self.action, "fields": fields}


class ChangedMeanwhile(BadService):
    """Somebody changed the service after it was looked at; `changes`, newest first, say who and what."""

    def __init__(self, service_id: str, changes: Sequence[SettingsChange]) -> None:
        super().__init__(f"{describe(changes)} Look again, then decide. Nothing was changed.")
        self.service_id, self.changes = service_id, changes


def describe(changes: Sequence[SettingsChange]) -> str:
    """`bea changed name at 2026-11-21 12:00:00 UTC.`"""
    if not changes:
        return "This is no revision that the service had."
    newest = changes[0]
    more = f" There are {len(changes) - 1} more changes since you looked." if len(changes) > 1 else ""
    return f"{newest.actor} {newest.words} at {newest.at[:19].replace('T', ' ')} UTC.{more}"


def revision(session: Session, service_id: str) -> int:
    """0 where the audit has no entry about it."""
    query = sa.select(sa.func.max(AuditRow.seq)).where(
        AuditRow.target == redaction.redact_text(service_id), *_ABOUT_SETTINGS
    )
    return session.scalar(query) or 0


def revisions(session: Session, service_ids: Iterable[str]) -> Mapping[str, int]:
    query = sa.select(AuditRow.target, sa.func.max(AuditRow.seq).label("newest")).where(*_ABOUT_SETTINGS)
    found = {row.target: row.newest for row in session.execute(query.group_by(AuditRow.target))}
    return {service_id: found.get(redaction.redact_text(service_id), 0) for service_id in service_ids}


def check(session: Session, service_id: str, expected: int | None) -> None:
    """Inside `db.write()`, with the row of the service locked. Raises `ChangedMeanwhile`; None is whatever stands.

    An entry that retention has taken since is no change; a number that the audit has not reached yet was never seen.
    """
    if expected is None:
        return
    changes = changes_since(session, service_id, expected)
    newest = session.scalar(sa.select(sa.func.max(AuditRow.seq))) or 0
    if changes or expected > newest:
        raise ChangedMeanwhile(service_id, changes)


def changes_since(session: Session, service_id: str, seen: int) -> list[SettingsChange]:
    """Newest first."""
    query = sa.select(AuditRow).where(
        AuditRow.target == redaction.redact_text(service_id), AuditRow.seq > seen, *_ABOUT_SETTINGS
    )
    rows = session.scalars(query.order_by(AuditRow.seq.desc()).limit(MAX_CHANGES))
    return [SettingsChange.of(row) for row in rows]


def parse_revision(given: object) -> int | None:
    """As a form, an address or JSON says it. Raises `BadService`."""
    if given in (None, ""):
        return None
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < MAX_REVISION:
        return given
    if isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) <= MAX_DIGITS:
        return int(given)
    raise BadService(f"expected: {WRONG}", {"expected": WRONG})


def _flat(text: str | None) -> dict[str, Any]:
    """The settings by the names of their fields."""
    found: dict[str, Any] = json.loads(text) if text else {}
    return {name: value for name, value in found.items() if name != "options"} | dict(found.get("options") or {})


def _changed(row: AuditRow) -> list[str]:
    params = json.loads(row.command_params_json or "{}")
    return [str(name) for name in params.get("changed") or []]


def _text(value: Any) -> str:
    if value is None or value == "":
        return "—"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

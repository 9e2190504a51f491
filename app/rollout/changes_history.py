"""Reads the history of a flag from the audit log: who changed what, when and why."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit.models import AuditRow
from app.flags.document import Flag, Rollout

CHANGE_ACTIONS = ("rollout-set", "rollout-seen")
PLAN_VERBS = ("start", "pause", "resume", "stop", "end")
HISTORY_ACTIONS = (*CHANGE_ACTIONS, "rollout-hold", "rollout-release", *(f"rollout-plan-{what}" for what in PLAN_VERBS))
DEFAULT_ENTRIES = 50


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One entry of the history; lists are sorted newest first. `before` and `after` are None for plan entries.
    `failed` is the reason if an attempted change failed. `steps` are `(percentage, hold minutes)`."""

    at: str
    actor: str
    action: str
    reason: str
    before: Rollout | None = None
    after: Rollout | None = None
    failed: str | None = None
    steps: tuple[tuple[int, float], ...] = ()

    @classmethod
    def of(cls, row: AuditRow) -> Self:
        params, logs = _parse_json(row.command_params_json) or {}, _parse_json(row.logs_json) or []
        steps = tuple((step["percentage"], step["holdMinutes"]) for step in params.get("steps") or [])
        failed = None if row.outcome == "success" else str(logs[0] if logs else row.outcome)
        before, after = _parse_rollout(row.before_state_json), _parse_rollout(row.after_state_json)
        return cls(row.timestamp, row.actor, row.action_type, params.get("reason") or "", before, after, failed, steps)

    def as_json(self) -> dict[str, Any]:
        """The entry as the API returns it; `failed` and `steps` only if there are any."""
        said = {"at": self.at, "actor": self.actor, "action": self.action, "reason": self.reason}
        ends = {"before": _rollout_as_json(self.before), "after": _rollout_as_json(self.after)}
        steps = [{"percentage": percentage, "holdMinutes": minutes} for percentage, minutes in self.steps]
        more = {"failed": self.failed, "steps": steps}
        return {**said, **ends, **{name: value for name, value in more.items() if value}}

    @property
    def has_moved_users(self) -> bool:
        """True if the entry changed the effective percentage."""
        if self.action not in CHANGE_ACTIONS or self.failed is not None or self.before is None or self.after is None:
            return False
        return self.before.level != self.after.level


def load_entries(session: Session, flag: Flag, limit: int = DEFAULT_ENTRIES) -> list[HistoryEntry]:
    query = sa.select(AuditRow).where(AuditRow.target == flag, AuditRow.action_type.in_(HISTORY_ACTIONS))
    return [HistoryEntry.of(row) for row in session.scalars(query.order_by(AuditRow.seq.desc()).limit(limit))]


def load_percentages(session: Session, flag: Flag) -> list[float]:
    """The percentages before each of the newest changes, newest last, where known."""
    query = sa.select(AuditRow.before_state_json).where(
        AuditRow.target == flag, AuditRow.outcome == "success", AuditRow.action_type.in_(CHANGE_ACTIONS)
    )
    rows = session.scalars(query.order_by(AuditRow.seq.desc()).limit(DEFAULT_ENTRIES)).all()
    found = [_parse_rollout(row) for row in reversed(rows)]
    return [one.percentage for one in found if one is not None and one.percentage is not None]


def find_decrease(entries: Sequence[HistoryEntry]) -> HistoryEntry | None:
    """The last change of the effective percentage, if it was a decrease; None otherwise. Pure."""
    last = next((entry for entry in entries if entry.has_moved_users), None)
    if last is None or last.before is None or last.after is None:
        return None
    return last if is_lower(last.after, last.before) else None


def is_lower(one: Rollout, other: Rollout) -> bool:
    """True if fewer users are in. An unknown percentage counts as more than any known one."""
    return _sort_level(one) < _sort_level(other)


def _sort_level(rollout: Rollout) -> float:
    return math.inf if rollout.level is None else rollout.level


def find_first_increase(entries: Sequence[HistoryEntry]) -> HistoryEntry | None:
    """The increase that started the current rollout, or the one taken back last: the newest increase from 0.
    None if it is older than these entries. Pure."""
    begun = (
        entry for entry in entries if entry.has_moved_users and entry.before is not None and entry.after is not None
    )
    return next(
        (entry for entry in begun if entry.before and entry.after and _is_first_increase(entry.before, entry.after)),
        None,
    )


def _is_first_increase(before: Rollout, after: Rollout) -> bool:
    return before.level == 0 != after.level


def _parse_rollout(text: str | None) -> Rollout | None:
    found = _parse_json(text)
    return Rollout(bool(found["enabled"]), found["percentage"]) if found else None


def _rollout_as_json(rollout: Rollout | None) -> dict[str, Any] | None:
    return None if rollout is None else {"enabled": rollout.enabled, "percentage": rollout.percentage}


def _parse_json(text: str | None) -> Any:
    return json.loads(text) if text else None

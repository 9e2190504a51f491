"""Writes the history of a rollout: each entry is a row and an audit entry, in the commit of the change itself."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import chain
from app.eventlog.event_types import ChangeCause, ChangeKind
from app.flags.document import Flag, Rollout
from app.flags.models import RolloutChangeRow
from app.infra import redaction
from app.infra.clock import utc_text

# Older rows of a flag are deleted; the audit still has their entries.
MAX_ROWS_PER_FLAG = 1_000
_ACTIONS: Mapping[ChangeKind, str] = {
    "set": "rollout-set",
    "held": "rollout-hold",
    "released": "rollout-release",
    "started": "rollout-plan-start",
    "paused": "rollout-plan-pause",
    "resumed": "rollout-plan-resume",
    "stopped": "rollout-plan-stop",
    "ended": "rollout-plan-end",
    "waived": "rollout-plan-go-on",
    "approved": "rollout-plan-approve",
    "limits": "rollout-limits",
    "would-hold": "rollout-dry-run",
}


@dataclass(frozen=True, slots=True)
class RolloutChange:
    """One entry of the history. `before` is None if unknown, both states are None for entries of a plan. `failed` is
    why an attempted change failed. `steps` are those of a plan that was started, `{percentage, holdMinutes}`. `at` is
    set when the entry is written."""

    actor: str
    cause: ChangeCause
    kind: ChangeKind
    reason: str = ""
    before: Rollout | None = None
    after: Rollout | None = None
    failed: str | None = None
    steps: Sequence[Mapping[str, Any]] = ()
    at: str = ""

    @property
    def action(self) -> str:
        """The name of the action in the audit and in the API."""
        return "rollout-seen" if self.cause == "unleash" else _ACTIONS[self.kind]

    @property
    def is_of_plan(self) -> bool:
        return self.kind in ("started", "paused", "resumed", "stopped", "ended", "waived", "approved")

    @property
    def has_moved_users(self) -> bool:
        """True if the entry changed the effective percentage."""
        if self.kind != "set" or self.failed is not None or self.before is None or self.after is None:
            return False
        return self.before.level != self.after.level


def record_change(session: Session, flag: Flag, change: RolloutChange) -> None:
    """Write the row and the audit entry. Call it inside `db.write()`, under `embedded.lock_flags` and before the
    event."""
    before, after = change.before, change.after
    row = RolloutChangeRow(
        flag=flag,
        at=utc_text(),
        actor=redaction.redact_text(change.actor),
        cause=change.cause,
        kind=change.kind,
        reason=redaction.redact_text(change.reason),
        before_enabled=before and before.enabled,
        before_percentage=before and before.percentage,
        after_enabled=after and after.enabled,
        after_percentage=after and after.percentage,
        failed=change.failed and redaction.redact_text(change.failed),
        steps_json=json.dumps(change.steps) if change.steps else None,
    )
    session.add(row)
    session.flush()
    _delete_oldest(session, flag)
    params = {name: value for name, value in (("reason", change.reason), ("steps", change.steps)) if value}
    chain.record(
        session,
        chain.Entry(
            change.actor,
            change.action,
            flag,
            outcome="failure" if change.failed else "success",
            before=None if before is None else asdict(before),
            after=None if after is None else asdict(after),
            params=params,
            logs=[change.failed] if change.failed else [],
        ),
    )


def to_change(row: RolloutChangeRow) -> RolloutChange:
    before = None if row.before_enabled is None else Rollout(row.before_enabled, row.before_percentage)
    after = None if row.after_enabled is None else Rollout(row.after_enabled, row.after_percentage)
    steps = json.loads(row.steps_json) if row.steps_json else ()
    return RolloutChange(row.actor, row.cause, row.kind, row.reason, before, after, row.failed, steps, row.at)


def _delete_oldest(session: Session, flag: Flag) -> None:
    ids = sa.select(RolloutChangeRow.id).where(RolloutChangeRow.flag == flag).order_by(RolloutChangeRow.id.desc())
    newest_surplus = ids.offset(MAX_ROWS_PER_FLAG).limit(1).scalar_subquery()
    session.execute(
        sa.delete(RolloutChangeRow).where(RolloutChangeRow.flag == flag, RolloutChangeRow.id <= newest_surplus)
    )

"""The limits of the guardrail: those of the settings, or those that a person has set since, without a restart."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from app.config import Settings
from app.flags.change_log import RolloutChange, record_change
from app.flags.document import Flag
from app.flags.embedded import lock_flags
from app.flags.models import LimitsRow
from app.infra.clock import utc_text
from app.infra.problems import Problem
from app.rollout.guardrail import GuardrailLimits

_NAMES = {
    "mode": "mode",
    "max_failures": "maxFailures",
    "max_lag_s": "maxLagS",
    "min_attempts": "minAttempts",
    "query": "query",
    "max_value": "maxValue",
}


@dataclass(frozen=True, slots=True)
class StoredLimits:
    """The limits in force. `actor` and `changed_at` are None if they are those of the settings."""

    limits: GuardrailLimits
    actor: str | None = None
    changed_at: str | None = None

    def as_json(self) -> dict[str, Any]:
        found = {_NAMES[name]: value for name, value in asdict(self.limits).items()}
        return {**found, "actor": self.actor, "changedAt": self.changed_at}


def read_settings(settings: Settings) -> GuardrailLimits:
    return GuardrailLimits(
        settings.guardrail_mode,
        settings.guardrail_max_failures,
        settings.guardrail_max_lag_s,
        settings.guardrail_min_attempts,
    )


def load_limits(session: Session, flag: Flag, settings: Settings) -> StoredLimits:
    row, usual = session.get(LimitsRow, flag), read_settings(settings)
    if row is None:
        return StoredLimits(usual)
    given = json.loads(row.limits_json)
    set_by_hand = {name: given[name] for name in _NAMES if name in given}
    return StoredLimits(replace(usual, **set_by_hand), row.actor, row.changed_at)


def change_limits(
    session: Session, flag: Flag, settings: Settings, who: str, reason: str, wanted: GuardrailLimits, seen: str | None
) -> None:
    """Set the limits. They apply within seconds, and the audit has who changed what. Call it inside `db.write()`.

    `seen` is the `changedAt` that the caller saw (empty: never changed); None skips the check. Raises the 409 `Problem`
    if somebody else has changed them since, and the 400 for a query without a Prometheus.
    """
    if wanted.query and not settings.prometheus_url:
        raise Problem(400, "No Prometheus", "A query needs BEACON_PROMETHEUS_URL.")
    lock_flags(session)
    before = load_limits(session, flag, settings)
    if seen is not None and seen != (before.changed_at or ""):
        detail = f"{before.actor} has changed the limits since. Check them, then decide again. Nothing was changed."
        raise Problem(409, "Changed by somebody else", detail, limits=before.as_json())
    changed = [
        f"{_NAMES[name]} {old} → {new}"
        for (name, old), new in zip(asdict(before.limits).items(), asdict(wanted).values(), strict=True)
        if old != new
    ]
    if not changed:
        return
    session.merge(LimitsRow(flag=flag, limits_json=json.dumps(asdict(wanted)), actor=who, changed_at=utc_text()))
    record_change(session, flag, RolloutChange(who, "manual", "limits", f"{', '.join(changed)}: {reason}"[:500]))

"""One change of a flag as a person makes it, whether by the API or on the page: what may refuse it, in words."""

from dataclasses import asdict
from typing import Any

from flask import current_app
from sqlalchemy.orm import Session

from app.db import db
from app.flags import embedded, worker_state
from app.flags.document import Flag, Nominal, Rollout
from app.flags.embedded import Expected, Within
from app.flags.evaluation import Flags
from app.flags.outcome import Override
from app.flags.provider import Moved, Refused, View, provider
from app.infra.clock import parse_utc, utc_now
from app.infra.problems import Problem, build_retry_after
from app.rollout import controller
from app.rollout.changes_history import is_lower


def change(
    flag: Flag, who: str, reason: str, percentage: float | None, enabled: bool | None, expected: Expected | None
) -> View:
    """Set what is given and keep the rest.

    Raises `Problem`: 409 while the guardrail holds, and (with where it stands as `current`) where it is not as
    `expected`; what the provider refuses, with a `link`.
    """
    try:
        return provider().change(flag, who, reason, percentage, enabled, expected, unless_held(flag))
    except Moved as error:
        raise _moved(flag, error.now) from error
    except Refused as error:
        raise _refused(error) from error


def must_be_confirmed(now: Nominal, percentage: float | None, enabled: bool | None) -> bool:
    """Whether a change lets everybody in, or nobody can say how many: it takes more than one press, wherever it is
    made by a person."""
    if enabled is False:
        return False
    if percentage is not None:
        return percentage == 100
    return enabled is True and now.percentage in (None, 100)


def describe_change(flag: Flag, now: View, percentage: float | None, enabled: bool | None) -> str:
    """Who will be in by all rules, for whoever is asked to confirm a change."""
    return now.outcome.describe_change(now.nominal, percentage, enabled, override_of(flag))


def outcome_of_change(flag: Flag, now: View, percentage: float | None, enabled: bool | None) -> str | None:
    """The same, where switch and percentage alone do not say it."""
    is_plain = now.outcome.is_plain and override_of(flag) is None
    return None if is_plain else describe_change(flag, now, percentage, enabled)


def describe_steps(flag: Flag, now: View) -> str | None:
    """Whose share the percentages of a plan are, where they are not of all users."""
    return now.outcome.describe_steps(override_of(flag))


def is_confirmation(typed: str, flag: Flag) -> bool:
    return typed.removesuffix("%").strip() in ("100", flag)


def shown(flag: Flag, now: View) -> dict[str, Any]:
    """Where a flag stands, as `GET /api/rollout/{flag}` says it."""
    found = worker_state.holding(db.session(), flag, now.nominal)
    source = provider()
    said = {
        "flag": flag,
        "enabled": now.nominal.enabled,
        "percentage": now.nominal.percentage,
        "mode": source.mode,
        "workers": None if found is None else {"holding": found.holding, "total": found.total},
        **({} if found is None else {"inForce": [asdict(one) for one in found.in_force]}),
        "actor": now.actor,
        "changedAt": now.changed_at,
    }
    outcome = None if now.outcome.is_plain else now.sentence
    more = {"outcome": outcome, "note": source.note(), "whyNot": now.why_not, "link": now.link}
    said |= {name: value for name, value in more.items() if value is not None}
    override = override_of(flag)
    return said if override is None else {**said, "override": override}


def override_of(flag: Flag) -> Override:
    """What `BEACON_FLAG_…` decides for everyone, whatever the rollout says; None where it says nothing."""
    flags: Flags = current_app.extensions["beacon_flags"]
    override = flags.overrides.get(flag)
    return None if override is None else "on" if override else "off"


def named(flag: str) -> Flag:
    """Raises the 404."""
    try:
        return embedded.flag_named(flag)
    except embedded.BadRollout as error:
        raise Problem(404, "No such flag", f"The flags are {', '.join(Flag)}.") from error


def ago(at: str) -> str:
    minutes = int((utc_now() - parse_utc(at)).total_seconds() // 60)
    if minutes < 1:
        return "less than a minute ago"
    if minutes == 1:
        return "a minute ago"
    return f"{minutes} minutes ago" if minutes < 120 else f"on {at[:16].replace('T', ' at ')} UTC"


def unless_held(flag: Flag) -> Within:
    """While the guardrail holds nothing grows; taking back is always possible. It raises the 409 `Problem` in the
    change's own transaction: a hold that came a moment before counts."""

    def check(session: Session, before: Rollout, after: Rollout) -> None:
        why = controller.blocked_by(session, flag)
        if why is not None and (_is_raised(before, after) or is_lower(before, after)):
            detail = f"The guardrail holds {flag}: {why}. Nothing can be raised until it lets go."
            raise Problem(409, "Held by the guardrail", detail, reason="guardrail")

    return check


def _is_raised(before: Rollout, after: Rollout) -> bool:
    """While it is off too: it would be let in with it later."""
    return after.percentage is not None and (before.percentage is None or after.percentage > before.percentage)


def _moved(flag: Flag, now: View) -> Problem:
    state = "on" if now.nominal.enabled else "switched off"
    where = now.nominal.why or f"at {now.nominal.percentage} %"
    by = f", changed by {now.actor} {ago(now.changed_at)}" if now.actor and now.changed_at else ""
    detail = f"{flag} is {where} and {state} by now{by}: look again, then decide."
    return Problem(409, "Changed meanwhile", detail, current=shown(flag, now))


def _refused(error: Refused) -> Problem:
    members: dict[str, Any] = {"reason": error.reason, **({"link": error.link} if error.link else {})}
    headers = build_retry_after(1, 5) if error.status == 503 else None
    return Problem(error.status, error.title, str(error), headers=headers, **members)

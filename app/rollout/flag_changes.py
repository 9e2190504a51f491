"""Changes of a flag by a person, from the API, the page or the command line, with refusals as problems."""

from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from app.components import components
from app.db import db
from app.flags import embedded, worker_state
from app.flags.definitions import DEFINITIONS
from app.flags.document import ConfiguredState, Flag, Rollout
from app.flags.embedded import ExpectedState, Precondition
from app.flags.outcome import Override
from app.flags.provider import ChangeRefused, FlagView, RolloutConflict, current_provider
from app.infra.clock import parse_utc, utc_now
from app.infra.problems import Problem, build_retry_after
from app.rollout import controller
from app.rollout.changes_history import is_lower


def change_flag(
    flag: Flag, who: str, reason: str, percentage: float | None, enabled: bool | None, expected: ExpectedState | None
) -> FlagView:
    """Set what is given, keep the rest.

    Raises `Problem`: 409 while the guardrail blocks increases; 409 with the state as `current` if the flag is not as
    `expected`; and the provider's refusals, with a `link`.
    """
    try:
        return current_provider().change(flag, who, reason, percentage, enabled, expected, reject_if_held(flag))
    except RolloutConflict as error:
        raise _conflict_problem(flag, error.now) from error
    except ChangeRefused as error:
        raise _refusal_problem(error) from error


def needs_confirmation(now: ConfiguredState, percentage: float | None, enabled: bool | None) -> bool:
    """True if a change lets everybody in, or an unknown number: a person must confirm it."""
    if enabled is False:
        return False
    if percentage is not None:
        return percentage == 100
    return enabled is True and now.percentage in (None, 100)


def describe_change(flag: Flag, now: FlagView, percentage: float | None, enabled: bool | None) -> str:
    """Who will be in once all rules are applied: the text of the confirmation."""
    return now.outcome.describe_change(now.state, percentage, enabled, get_override(flag))


def describe_special_outcome(flag: Flag, now: FlagView, percentage: float | None, enabled: bool | None) -> str | None:
    """The same text if switch and percentage alone do not determine it; otherwise None."""
    is_plain = now.outcome.is_plain and get_override(flag) is None
    return None if is_plain else describe_change(flag, now, percentage, enabled)


def describe_steps(flag: Flag, now: FlagView) -> str | None:
    """What the percentages of a plan refer to, if not to all users."""
    return now.outcome.describe_steps(get_override(flag))


def is_confirmation(typed: str, flag: Flag) -> bool:
    return typed.removesuffix("%").strip() in ("100", flag)


def flag_as_json(flag: Flag, now: FlagView) -> dict[str, Any]:
    """The state of a flag as `GET /api/rollout/{flag}` returns it."""
    found = worker_state.load_worker_agreement(db.session(), flag, now.state)
    source = current_provider()
    said = {
        "flag": flag,
        "enabled": now.state.enabled,
        "percentage": now.state.percentage,
        "mode": source.mode,
        "workers": None if found is None else {"holding": found.holding, "total": found.total},
        **({} if found is None else {"inForce": [asdict(one) for one in found.in_force]}),
        "actor": now.actor,
        "changedAt": now.changed_at,
    }
    outcome = None if now.outcome.is_plain else now.sentence
    more = {"outcome": outcome, "note": source.describe_problem(), "whyNot": now.why_not, "link": now.link}
    said |= {name: value for name, value in more.items() if value is not None}
    override = get_override(flag)
    return said if override is None else {**said, "override": override}


def count_people() -> dict[str, int] | None:
    """How many people are online, how many of them the rules let in, and how many stream; None if no configuration is
    loaded. The caller must not hold a database connection."""
    if components().flags.configuration is None:
        return None
    found = components().drift.measure()
    return {"online": found.online, "letIn": found.expected, "streaming": found.actual}


def definition_as_json(flag: Flag) -> dict[str, Any]:
    """How the flag is declared: `stale` once it should have been removed."""
    found, today = DEFINITIONS[flag], utc_now().date()
    return {
        "owner": found.owner,
        "purpose": found.purpose,
        "default": found.default,
        "removeBy": found.remove_by.isoformat(),
        "stale": found.is_stale(today),
    }


def get_override(flag: Flag) -> Override:
    """The value that `BEACON_FLAG_…` forces for everyone; None if it is not set."""
    flags = components().flags
    override = flags.overrides.get(flag)
    return None if override is None else "on" if override else "off"


def require_flag(flag: str) -> Flag:
    """Parse the flag's name. Raises the 404 `Problem`."""
    try:
        return embedded.parse_flag(flag)
    except embedded.InvalidRollout as error:
        raise Problem(404, "No such flag", f"The flags are {', '.join(Flag)}.") from error


def describe_age(at: str) -> str:
    minutes = int((utc_now() - parse_utc(at)).total_seconds() // 60)
    if minutes < 1:
        return "less than a minute ago"
    if minutes == 1:
        return "a minute ago"
    return f"{minutes} minutes ago" if minutes < 120 else f"on {at[:16].replace('T', ' at ')} UTC"


def reject_if_held(flag: Flag) -> Precondition:
    """A precondition that blocks increases while the guardrail holds; decreases are always possible. It raises the 409
    `Problem` in the transaction of the change, so it sees a hold that was set just before."""

    def check(session: Session, before: Rollout, after: Rollout) -> None:
        why = controller.find_block_reason(session, flag)
        if why is not None and (_is_raised(before, after) or is_lower(before, after)):
            detail = f"The guardrail holds {flag}: {why}. Increases are blocked until it releases."
            raise Problem(409, "Held by the guardrail", detail, reason="guardrail")

    return check


def _is_raised(before: Rollout, after: Rollout) -> bool:
    """Also while the flag is off: the percentage takes effect when it is switched on."""
    return after.percentage is not None and (before.percentage is None or after.percentage > before.percentage)


def _conflict_problem(flag: Flag, now: FlagView) -> Problem:
    state = "on" if now.state.enabled else "switched off"
    where = now.state.why or f"at {now.state.percentage} %"
    by = f", changed by {now.actor} {describe_age(now.changed_at)}" if now.actor and now.changed_at else ""
    detail = f"{flag} is now {where} and {state}{by}. Check its state, then decide again."
    return Problem(409, "Changed by somebody else", detail, current=flag_as_json(flag, now))


def _refusal_problem(error: ChangeRefused) -> Problem:
    members: dict[str, Any] = {"reason": error.reason, **({"link": error.link} if error.link else {})}
    headers = build_retry_after(1, 5) if error.status == 503 else None
    return Problem(error.status, error.title, str(error), headers=headers, **members)

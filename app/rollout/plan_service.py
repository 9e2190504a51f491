"""Stores staged plans and lets people start, pause, resume and stop them. Every action is recorded."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import now_epoch
from app.flags import embedded
from app.flags.change_log import RolloutChange, record_change
from app.flags.document import Flag
from app.flags.embedded import lock_flags
from app.flags.models import PlanRow
from app.infra.problems import Problem
from app.rollout import plan, plan_archive, stages
from app.rollout.announcements import Controller
from app.rollout.plan import Plan, PlanStep
from app.rollout.plan_options import USUAL_OPTIONS, PlanOptions, PlanState


def begin_plan(
    session: Session,
    flag: Flag,
    who: str,
    reason: str,
    steps: Sequence[Mapping[str, Any]],
    seen: str | None = None,
    options: PlanOptions = USUAL_OPTIONS,
) -> None:
    """Start a plan; `steps` are `{percentage, holdMinutes}`. It replaces the plan that was `seen`. Call it inside
    `db.write()`.

    Without `seen` it replaces only a plan of the same person: somebody else's has to be reviewed first. Raises the 400
    `Problem` if the steps are invalid, and the 409 if there is another plan. The same plan again by the same person is
    a repeated click and changes nothing.
    """
    wrong = plan.find_problem([PlanStep(step["percentage"], step["holdMinutes"] * 60) for step in steps])
    if wrong is not None:
        raise Problem(400, "Invalid plan", wrong, errors={"steps": wrong})
    lock_flags(session)
    now = read_epoch(session)
    state = PlanState(started_at=now, started_at_percentage=embedded.load_rollout(session, flag).rollout.percentage)
    row = {"steps_json": json.dumps(steps), "step": -1, "since": now, "paused_at": None}
    said = {"options_json": json.dumps(options.as_json()), "state_json": state.serialize()}
    wanted, there = PlanRow(flag=flag, **row, **said, actor=who, reason=reason), session.get(PlanRow, flag)
    if there is not None:
        _require_review(there, who, seen, "replace")
    if seen is not None and not _is_seen_plan(there, seen):
        if _plan_id(there) == _plan_id(wanted):
            return
        raise _changed_problem(there)
    if there is not None:
        plan_archive.archive_plan(session, flag, there, f"replaced: {reason}", who)
    session.merge(wanted)
    record_change(session, flag, RolloutChange(who, "manual", "started", reason, steps=steps))


def steer_plan(
    session: Session, flag: Flag, who: str, action: Literal["pause", "resume"], seen: str | None = None
) -> None:
    """Pause or resume the plan; the time held before a pause counts. Call it inside `db.write()`.

    Without `seen` only the person's own. Raises the 404 `Problem` if there is no plan, and the 409 if it is not the one
    that was `seen`, or if a plan to resume was paused again since.
    """
    lock_flags(session)
    row = require_plan(session, flag)
    _require_review(row, who, seen, action)
    if seen is not None:
        if not _is_seen_plan(row, seen):
            raise _changed_problem(row)
        if action == "resume" and row.paused_at is not None and seen != compute_seen(row):
            raise Problem(409, "Paused again", "It was paused again. Check the reason. Nothing was changed.")
    now, before = read_epoch(session), to_plan(row)
    after = plan.pause_plan(before, now) if action == "pause" else plan.resume_plan(before, now)
    row.since, row.paused_at = after.since, after.paused_at
    if action == "resume" and before.paused_at is not None:
        _count_again(session, flag, now)
    record_change(session, flag, RolloutChange(who, "manual", "paused" if action == "pause" else "resumed"))


def stop_plan(session: Session, flag: Flag, who: str, seen: str | None = None) -> None:
    """Stop the plan; the flag stays where it is. Call it inside `db.write()`.

    Without `seen` only the person's own. Raises the 404 `Problem` if there is no plan, and the 409 if it is not the one
    that was `seen`. If the plan that was seen is already gone, nothing happens.
    """
    lock_flags(session)
    if seen and session.get(PlanRow, flag) is None:
        return
    row = require_plan(session, flag)
    _require_review(row, who, seen, "stop")
    if seen is not None and not _is_seen_plan(row, seen):
        raise _changed_problem(row)
    plan_archive.archive_plan(session, flag, row, "stopped", who)
    session.delete(row)
    record_change(session, flag, RolloutChange(who, "manual", "stopped"))


def to_plan(row: PlanRow) -> Plan:
    steps = tuple(PlanStep(step["percentage"], step["holdMinutes"] * 60) for step in json.loads(row.steps_json))
    return Plan(steps, row.step, row.since, row.paused_at)


def is_same_plan(one: PlanRow | None, other: PlanRow | None) -> bool:
    """True if nobody has paused, stopped or replaced the plan between the two."""
    return _row_values(one) == _row_values(other)


def compute_seen(row: PlanRow | None) -> str:
    """The token of the plan that somebody saw, which they send back with an action: the plan's id and since when it is
    paused, but not its progress. Empty if there is no plan."""
    return "" if row is None else f"{_plan_id(row)}.{row.paused_at or ''}"


def plan_as_json(row: PlanRow) -> dict[str, Any]:
    """The plan as the API returns it; callers send `seen` back as `expected`. `since` is `sinceAt` in seconds since
    1970."""
    next_at = find_next_time(row)
    return {
        "steps": json.loads(row.steps_json),
        "step": row.step,
        "since": row.since,
        "paused": row.paused_at is not None,
        "actor": row.actor,
        "reason": row.reason,
        "seen": compute_seen(row),
        "sinceAt": _to_utc_text(row.since),
        "nextAt": None if next_at is None else _to_utc_text(next_at),
        **PlanOptions.parse(row.options_json).as_json(),
        **_decisions_as_json(row),
    }


def find_next_time(row: PlanRow) -> float | None:
    """When the hold of the current step is over; None before the first step and while paused."""
    found = to_plan(row)
    if found.paused_at is not None or not 0 <= found.step < len(found.steps):
        return None
    return found.since + found.steps[found.step].hold_s


def _decisions_as_json(row: PlanRow) -> dict[str, Any]:
    """What people decided about the current step, if they did."""
    state, found = PlanState.parse(row.state_json), dict[str, Any]()
    if state.waived_step == row.step:
        found["goesOnWithoutEvidence"] = {"actor": state.waived_by, "reason": state.waived_reason}
    if state.approved_step == row.step + 1:
        found["approvedBy"] = state.approved_by
    return found


def save_progress(session: Session, flag: Flag, now: Plan) -> None:
    """Store the progress of the plan, if there is one. Call it inside `db.write()`."""
    row = session.get(PlanRow, flag)
    if row is not None:
        row.step, row.since, row.paused_at = now.step, now.since, now.paused_at


def pause_for_person(session: Session, flag: Flag, cause: Controller, why: str) -> bool:
    """Pause the plan until a person resumes it. False if there is none to pause. Call it inside `db.write()`."""
    row = session.get(PlanRow, flag)
    if row is None or row.paused_at is not None:
        return False
    row.paused_at = read_epoch(session)
    record_change(session, flag, RolloutChange(cause, cause, "paused", why))
    return True


def end_plan(session: Session, flag: Flag, why: str) -> None:
    """Delete the plan and archive it; the flag stays where it is. Call it inside `db.write()`."""
    row = session.get(PlanRow, flag)
    if row is not None:
        plan_archive.archive_plan(session, flag, row, f"ended: {why}", "plan")
        session.delete(row)
        session.flush()
    record_change(session, flag, RolloutChange("plan", "plan", "ended", why))


def read_epoch(session: Session) -> float:
    """The database's clock, in seconds since 1970."""
    return session.scalar(sa.select(now_epoch())) or 0.0


def _row_values(row: PlanRow | None) -> tuple[Any, ...]:
    if row is None:
        return ()
    return (row.steps_json, row.step, row.since, row.paused_at, row.actor, row.reason, row.options_json)


def _plan_id(row: PlanRow | None) -> str:
    if row is None:
        return ""
    options = [row.options_json] if PlanOptions.parse(row.options_json).as_json() else []
    return hashlib.sha256(json.dumps([row.steps_json, row.actor, row.reason, *options]).encode()).hexdigest()[:12]


def _count_again(session: Session, flag: Flag, now: float) -> None:
    """A person has decided to go on after trouble, so evidence is counted again from now on."""
    if stages.had_trouble(session, flag):
        stages.begin_stage(session, flag, int(now * 1_000), embedded.load_rollout(session, flag).rollout.level)


def _to_utc_text(epoch: float) -> str:
    return stages.to_utc_text(int(epoch * 1_000))


def _is_seen_plan(row: PlanRow | None, seen: str) -> bool:
    return _plan_id(row) == seen.partition(".")[0]


def _changed_problem(row: PlanRow | None) -> Problem:
    if row is None:
        return Problem(409, "Changed by somebody else", "The plan is over. Nothing was changed.", plan=None)
    detail = f"There is another plan now, started by {row.actor} ({_describe_plan(row)})."
    return Problem(409, "Changed by somebody else", f"{detail} Nothing was changed.", plan=plan_as_json(row))


def require_seen(row: PlanRow, who: str, seen: str | None, verb: str) -> None:
    """Raises the 409 `Problem` if it is not the plan that was `seen`, or, without that, somebody else's."""
    _require_review(row, who, seen, verb)
    if seen is not None and not _is_seen_plan(row, seen):
        raise _changed_problem(row)


def _require_review(row: PlanRow, who: str, seen: str | None, verb: str) -> None:
    """Raises the 409 `Problem` for somebody else's plan of which it is not said that it was seen."""
    if seen is not None or row.actor == who:
        return
    there = "There is a plan already," if verb == "replace" else "The plan was"
    detail = f"{there} started by {row.actor} ({_describe_plan(row)})."
    advice = f"To {verb} it, pass its id as expected. Nothing was changed."
    raise Problem(409, "Not reviewed", f"{detail} {advice}", plan=plan_as_json(row))


def _describe_plan(row: PlanRow) -> str:
    return f"{' → '.join(f'{step.percentage:g}' for step in to_plan(row).steps)} %: {row.reason}"


def require_plan(session: Session, flag: Flag) -> PlanRow:
    """Raises the 404 `Problem` if there is none."""
    row = session.get(PlanRow, flag)
    if row is None:
        raise Problem(404, "No plan", f"There is no plan for {flag}.")
    return row

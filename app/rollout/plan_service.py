"""A staged plan as it is kept, and as people steer it by the API or on the page: each step of that is audited."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import chain
from app.db import now_epoch
from app.flags.document import Flag
from app.flags.embedded import lock
from app.flags.models import PlanRow
from app.infra.problems import Problem
from app.rollout import plan
from app.rollout.plan import Plan, Step


def begin(
    session: Session, flag: Flag, who: str, reason: str, steps: Sequence[Mapping[str, Any]], seen: str | None = None
) -> None:
    """Inside `db.write()`: `{percentage, holdMinutes}` each, in the place of the plan that was `seen`. Without `seen`
    it replaces a plan of the same person only: somebody else's has to be looked at first.

    Raises the 400 `Problem` where these are no plan, and the 409 where another one is there. The same one again, by
    the same person, is a second press.
    """
    wrong = plan.problem([Step(step["percentage"], step["holdMinutes"] * 60) for step in steps])
    if wrong is not None:
        raise Problem(400, "No plan", wrong, errors={"steps": wrong})
    lock(session)
    row = {"steps_json": json.dumps(steps), "step": -1, "since": epoch(session), "paused_at": None}
    wanted, there = PlanRow(flag=flag, **row, actor=who, reason=reason), session.get(PlanRow, flag)
    if seen is None and there is not None and there.actor != who:
        raise _not_looked_at(there)
    if seen is not None and not _is(there, seen):
        if _identity(there) == _identity(wanted):
            return
        raise _another(there)
    session.merge(wanted)
    _audited(session, flag, who, "rollout-plan-start", {"steps": steps, "reason": reason})


def steer(session: Session, flag: Flag, who: str, action: Literal["pause", "resume"], seen: str | None = None) -> None:
    """Inside `db.write()`; what was held before a pause counts.

    Raises the 404 `Problem` where there is no plan, and the 409 where it is not the one that was `seen`, or one that
    is to be resumed was paused again since.
    """
    lock(session)
    row = _row(session, flag)
    if seen is not None:
        if not _is(row, seen):
            raise _another(row)
        if action == "resume" and row.paused_at is not None and seen != seen_as(row):
            raise Problem(409, "Paused again", "It was paused again meanwhile: look why. Nothing was done.")
    now, before = epoch(session), of_row(row)
    after = plan.paused(before, now) if action == "pause" else plan.resumed(before, now)
    row.since, row.paused_at = after.since, after.paused_at
    _audited(session, flag, who, f"rollout-plan-{action}", {})


def stop(session: Session, flag: Flag, who: str, seen: str | None = None) -> None:
    """Inside `db.write()`: the flag stays where it is. Raises the 404 `Problem` where there is no plan, and the 409
    where it is not the one that was `seen`; that one gone is what was wanted."""
    lock(session)
    if seen and session.get(PlanRow, flag) is None:
        return
    row = _row(session, flag)
    if seen is not None and not _is(row, seen):
        raise _another(row)
    session.delete(row)
    _audited(session, flag, who, "rollout-plan-stop", {})
    session.flush()


def of_row(row: PlanRow) -> Plan:
    steps = tuple(Step(step["percentage"], step["holdMinutes"] * 60) for step in json.loads(row.steps_json))
    return Plan(steps, row.step, row.since, row.paused_at)


def is_same(one: PlanRow | None, other: PlanRow | None) -> bool:
    """Whether nobody paused, stopped or replaced the one to make it the other."""
    return _figures(one) == _figures(other)


def seen_as(row: PlanRow | None) -> str:
    """What somebody saw, to be sent along with what they do about it: which plan, and since when it is paused; how far
    it has come does not count. Empty where there is none."""
    return "" if row is None else f"{_identity(row)}.{row.paused_at or ''}"


def as_json(row: PlanRow) -> dict[str, Any]:
    """The plan as programs get it; `seen` is what they send back as `expected`."""
    return {
        "steps": json.loads(row.steps_json),
        "step": row.step,
        "since": row.since,
        "paused": row.paused_at is not None,
        "actor": row.actor,
        "reason": row.reason,
        "seen": seen_as(row),
    }


def put(session: Session, flag: Flag, now: Plan) -> None:
    """Inside `db.write()`: how far it has come. Nothing where there is none."""
    row = session.get(PlanRow, flag)
    if row is not None:
        row.step, row.since, row.paused_at = now.step, now.since, now.paused_at


def halt(session: Session, flag: Flag, who: str, why: str) -> bool:
    """Inside `db.write()`: pause it until a person resumes it. False where nothing was to be paused."""
    row = session.get(PlanRow, flag)
    if row is None or row.paused_at is not None:
        return False
    row.paused_at = epoch(session)
    _audited(session, flag, who, "rollout-plan-pause", {"reason": why})
    return True


def end(session: Session, flag: Flag, who: str, why: str) -> None:
    """Inside `db.write()`: it goes, and the flag stays where it is."""
    session.execute(sa.delete(PlanRow).where(PlanRow.flag == flag))
    _audited(session, flag, who, "rollout-plan-end", {"reason": why})


def epoch(session: Session) -> float:
    """The database's clock, in seconds since 1970."""
    return session.scalar(sa.select(now_epoch())) or 0.0


def _figures(row: PlanRow | None) -> tuple[Any, ...]:
    return () if row is None else (row.steps_json, row.step, row.since, row.paused_at, row.actor, row.reason)


def _identity(row: PlanRow | None) -> str:
    if row is None:
        return ""
    return hashlib.sha256(json.dumps([row.steps_json, row.actor, row.reason]).encode()).hexdigest()[:12]


def _is(row: PlanRow | None, seen: str) -> bool:
    return _identity(row) == seen.partition(".")[0]


def _another(row: PlanRow | None) -> Problem:
    if row is None:
        return Problem(409, "Changed meanwhile", "The plan is over by now: look again. Nothing was done.", plan=None)
    detail = f"There is another plan by now, started by {row.actor} ({_steps(row)}): look again."
    return Problem(409, "Changed meanwhile", f"{detail} Nothing was done.", plan=as_json(row))


def _not_looked_at(row: PlanRow) -> Problem:
    detail = f"There is a plan already, started by {row.actor} ({_steps(row)}): to replace it, name it as expected."
    return Problem(409, "Not looked at", f"{detail} Nothing was done.", plan=as_json(row))


def _steps(row: PlanRow) -> str:
    return f"{' → '.join(str(step.percentage) for step in of_row(row).steps)} %: {row.reason}"


def _row(session: Session, flag: Flag) -> PlanRow:
    row = session.get(PlanRow, flag)
    if row is None:
        raise Problem(404, "No plan", f"There is no plan for {flag}.")
    return row


def _audited(session: Session, flag: Flag, who: str, action: str, params: Mapping[str, Any]) -> None:
    session.flush()
    chain.record(session, chain.Entry(who, action, flag, params=params))

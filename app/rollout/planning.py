"""A staged plan as it is kept, and as people steer it by the API or on the page: each step of that is audited."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import chain
from app.db import now_epoch
from app.errors import Problem
from app.rollout import plan
from app.rollout.configuration import Flag
from app.rollout.models import PlanRow
from app.rollout.plan import Plan, Step
from app.rollout.store import lock


def begin(session: Session, flag: Flag, who: str, reason: str, steps: Sequence[Mapping[str, Any]]) -> None:
    """Inside `db.write()`: `{percentage, holdMinutes}` each, in the place of whatever plan there was.

    Raises the 400 `Problem` where these are no plan.
    """
    wrong = plan.problem([Step(step["percentage"], step["holdMinutes"] * 60) for step in steps])
    if wrong is not None:
        raise Problem(400, "No plan", wrong, errors={"steps": wrong})
    lock(session)
    row = {"steps_json": json.dumps(steps), "step": -1, "since": epoch(session), "paused_at": None}
    session.merge(PlanRow(flag=flag, **row, actor=who, reason=reason))
    _audited(session, flag, who, "rollout-plan-start", {"steps": steps, "reason": reason})


def steer(session: Session, flag: Flag, who: str, action: Literal["pause", "resume"]) -> None:
    """Inside `db.write()`; what was held before a pause counts. Raises the 404 `Problem` where there is no plan."""
    lock(session)
    row = _row(session, flag)
    now, before = epoch(session), of_row(row)
    after = plan.paused(before, now) if action == "pause" else plan.resumed(before, now)
    row.since, row.paused_at = after.since, after.paused_at
    _audited(session, flag, who, f"rollout-plan-{action}", {})


def stop(session: Session, flag: Flag, who: str) -> None:
    """Inside `db.write()`: the flag stays where it is. Raises the 404 `Problem` where there is no plan."""
    lock(session)
    session.delete(_row(session, flag))
    _audited(session, flag, who, "rollout-plan-stop", {})
    session.flush()


def of_row(row: PlanRow) -> Plan:
    steps = tuple(Step(step["percentage"], step["holdMinutes"] * 60) for step in json.loads(row.steps_json))
    return Plan(steps, row.step, row.since, row.paused_at)


def is_same(one: PlanRow | None, other: PlanRow | None) -> bool:
    """Whether nobody paused, stopped or replaced the one to make it the other."""
    return _figures(one) == _figures(other)


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


def _row(session: Session, flag: Flag) -> PlanRow:
    row = session.get(PlanRow, flag)
    if row is None:
        raise Problem(404, "No plan", f"There is no plan for {flag}.")
    return row


def _audited(session: Session, flag: Flag, who: str, action: str, params: Mapping[str, Any]) -> None:
    session.flush()
    chain.record(session, chain.Entry(who, action, flag, params=params))

"""`/api/rollout/{flag}/plan` and `/api/client-reports`: a staged plan as people steer it; what browsers report."""

import json
from typing import Any, Literal

import sqlalchemy as sa
from flask import Blueprint, Response, current_app, jsonify, request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy.orm import Session

from app.accounts.access import actor, require
from app.audit import chain
from app.db import db, now_epoch, write
from app.errors import Problem, retry_after
from app.rollout import plan, reports, watch
from app.rollout.configuration import Flag
from app.rollout.flags import is_enabled
from app.rollout.models import PlanRow
from app.rollout.plan import Step
from app.rollout.routes import Percentage, Reason, named
from app.rollout.store import lock

bp = Blueprint("rollout_plan", __name__)
_SHAPE = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class PlannedStep(BaseModel):
    model_config = _SHAPE

    percentage: Percentage
    hold_minutes: float = Field(ge=0, le=30 * 24 * 60, strict=False)


class Planned(BaseModel):
    model_config = _SHAPE

    steps: list[PlannedStep] = Field(max_length=20)
    reason: Reason


class Steered(BaseModel):
    model_config = _SHAPE

    action: Literal["pause", "resume"]


@bp.get("/api/rollout/<flag>/plan")
@require("viewer", scope=("read", "rollout"))
def shown(flag: str) -> Response:
    """`{plan, blocked}`: the plan, or null; why the guardrail lets nothing grow, or null."""
    return _answer(db.session(), named(flag))


@bp.put("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def begin(flag: str) -> Response:
    """`{steps: [{percentage, holdMinutes}], reason}` takes the place of whatever plan there was."""
    which, wanted = named(flag), Planned.model_validate(request.get_json())
    wrong = plan.problem([Step(step.percentage, step.hold_minutes * 60) for step in wanted.steps])
    if wrong is not None:
        raise Problem(400, "No plan", wrong, errors={"steps": wrong})
    steps = [step.model_dump(by_alias=True) for step in wanted.steps]
    with write() as session:
        lock(session)
        row = {"steps_json": json.dumps(steps), "step": -1, "since": _now(session), "paused_at": None}
        session.merge(PlanRow(flag=which, **row, actor=actor().name, reason=wanted.reason))
        _audited(session, which, "rollout-plan-start", {"steps": steps, "reason": wanted.reason})
        return _answer(session, which)


@bp.patch("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def steer(flag: str) -> Response:
    """`{action: pause | resume}`; what was held before a pause counts."""
    which, wanted = named(flag), Steered.model_validate(request.get_json())
    with write() as session:
        lock(session)
        row = _row(session, which)
        now, before = _now(session), watch.of_row(row)
        after = plan.paused(before, now) if wanted.action == "pause" else plan.resumed(before, now)
        row.since, row.paused_at = after.since, after.paused_at
        _audited(session, which, f"rollout-plan-{wanted.action}", {})
        return _answer(session, which)


@bp.delete("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def stop(flag: str) -> Response:
    """The flag stays where it is."""
    which = named(flag)
    with write() as session:
        lock(session)
        session.delete(_row(session, which))
        _audited(session, which, "rollout-plan-stop", {})
        session.flush()
        return _answer(session, which)


@bp.post("/api/client-reports")
@require("viewer")
def report() -> Response:
    """A page's own measurements since its last report; nothing of the person is kept but the cohort.

    The server says which that is; what was measured in the other one is dropped. 429 within 30 s of the last.
    """
    who, given = actor(), reports.Report.model_validate(request.get_json())
    turnstile: reports.Turnstile = current_app.extensions["beacon_report_turnstile"]
    if not turnstile.admits(who.login_id or who.name):
        raise Problem(429, "Too many reports", "One a 30 s is enough.", headers=retry_after(20, 40), reason="rate")
    cohort = "streaming" if is_enabled(Flag.SSE_STREAMING, who.name) else "polling"
    if given.is_of(cohort):
        with write() as session:
            reports.add(session, cohort, given, _now(session))
    return Response(status=204)


def _row(session: Session, flag: Flag) -> PlanRow:
    row = session.get(PlanRow, flag)
    if row is None:
        raise Problem(404, "No plan", f"There is no plan for {flag}.")
    return row


def _answer(session: Session, flag: Flag) -> Response:
    session.flush()
    row = session.get(PlanRow, flag)
    return jsonify(plan=None if row is None else _shown(row), blocked=watch.blocked_by(session, flag))


def _shown(row: PlanRow) -> dict[str, Any]:
    return {
        "steps": json.loads(row.steps_json),
        "step": row.step,
        "since": row.since,
        "paused": row.paused_at is not None,
        "actor": row.actor,
        "reason": row.reason,
    }


def _audited(session: Session, flag: Flag, action: str, params: dict[str, Any]) -> None:
    session.flush()
    chain.record(session, chain.Entry(actor().name, action, flag, params=params))


def _now(session: Session) -> float:
    return session.scalar(sa.select(now_epoch())) or 0.0

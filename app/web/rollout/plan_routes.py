"""API of staged plans (`/api/rollout/{flag}/plan`) and of client reports (`/api/client-reports`)."""

from typing import Annotated, Literal

from flask import Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from sqlalchemy.orm import Session

from app.components import components
from app.db import db, write
from app.flags.document import Flag
from app.flags.evaluation import is_enabled
from app.flags.models import PlanRow
from app.flags.provider import current_provider
from app.infra.problems import Problem, build_retry_after
from app.rollout import client_reports, controller, flag_changes, plan_service
from app.rollout.flag_changes import require_flag
from app.rollout.plan import MAX_HOLD_MINUTES, MAX_STEPS
from app.rollout.report_buffer import current_report_buffer
from app.web.auth import actor, require
from app.web.rollout import bp
from app.web.rollout.routes import Percentage, Reason

ExpectedPlan = Annotated[str, StringConstraints(max_length=100)] | None
_BODY_CONFIG = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class PlanStepBody(BaseModel):
    model_config = _BODY_CONFIG

    percentage: Percentage
    hold_minutes: float = Field(ge=0, le=MAX_HOLD_MINUTES, strict=False)


class PlanBody(BaseModel):
    model_config = _BODY_CONFIG

    steps: list[PlanStepBody] = Field(max_length=MAX_STEPS)
    reason: Reason
    expected: ExpectedPlan = None

    @property
    def seen(self) -> str | None:
        """None if the caller sent no `expected`; empty if they expect that there is no plan."""
        return (self.expected or "") if "expected" in self.model_fields_set else None


class PlanActionBody(BaseModel):
    model_config = _BODY_CONFIG

    action: Literal["pause", "resume"]
    expected: ExpectedPlan = None


@bp.get("/api/rollout/<flag>/plan")
@require("viewer", scope=("read", "rollout"))
def get_plan(flag: str) -> Response:
    """`{plan, blocked, outcome?}`: the plan or null; why the guardrail blocks increases, or null; what the percentages
    refer to, if not to all users. Callers send the plan's `seen` back as `expected`."""
    return _plan_response(db.session(), require_flag(flag))


@bp.put("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def put_plan(flag: str) -> Response:
    """`{steps: [{percentage, holdMinutes}], reason, expected?}` replaces the caller's own plan, or the one given by
    `expected` (null: no plan). `409`, with the `plan`, if there is another one."""
    which, wanted = require_flag(flag), PlanBody.model_validate(request.get_json())
    steps = [step.model_dump(by_alias=True) for step in wanted.steps]
    with write() as session:
        plan_service.begin_plan(session, which, actor().name, wanted.reason, steps, wanted.seen)
        return _plan_response(session, which)


@bp.patch("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def patch_plan(flag: str) -> Response:
    """`{action: pause | resume, expected?}`; the time held before a pause counts. Somebody else's plan only with
    `expected`."""
    which, wanted = require_flag(flag), PlanActionBody.model_validate(request.get_json())
    with write() as session:
        plan_service.steer_plan(session, which, actor().name, wanted.action, wanted.expected)
        return _plan_response(session, which)


@bp.delete("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def delete_plan(flag: str) -> Response:
    """Stop the plan; the flag stays where it is. With `expected=` only that plan is stopped, without it only the
    caller's own."""
    which = require_flag(flag)
    with write() as session:
        plan_service.stop_plan(session, which, actor().name, request.args.get("expected"))
        return _plan_response(session, which)


@bp.post("/api/client-reports")
@require("viewer")
def post_report() -> Response:
    """A page's measurements since its last report. Only the user's cohort is stored, nothing else about the person.

    The server determines the cohort and drops measurements of the other one. 429 within 30 s of the last report.
    """
    who, given = actor(), client_reports.ClientReport.model_validate(request.get_json())
    turnstile = components().report_limiter
    login = who.login_id or who.name
    if not turnstile.allow(login):
        raise Problem(
            429, "Too many reports", "At most one report every 30 s.", headers=build_retry_after(20, 40), reason="rate"
        )
    cohort = "streaming" if is_enabled(Flag.SSE_STREAMING, who.name) else "polling"
    if given.is_for(cohort):
        current_report_buffer().add(cohort, login, given)
    return Response(status=204)


def _plan_response(session: Session, flag: Flag) -> Response:
    session.flush()
    row = session.get(PlanRow, flag)
    outcome = flag_changes.describe_steps(flag, current_provider().view(session, flag))
    return jsonify(
        plan=None if row is None else plan_service.plan_as_json(row),
        blocked=controller.find_block_reason(session, flag),
        **({} if outcome is None else {"outcome": outcome}),
    )

"""`/api/rollout/{flag}/plan` and `/api/client-reports`: a staged plan as people steer it; what browsers report."""

from typing import Annotated, Literal

from flask import Response, current_app, jsonify, request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from sqlalchemy.orm import Session

from app.db import db, write
from app.flags.document import Flag
from app.flags.evaluation import is_enabled
from app.flags.models import PlanRow
from app.flags.provider import current_provider
from app.infra.problems import Problem, retry_after
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
        """None where the caller says nothing; empty where they say that they saw no plan."""
        return (self.expected or "") if "expected" in self.model_fields_set else None


class PlanActionBody(BaseModel):
    model_config = _BODY_CONFIG

    action: Literal["pause", "resume"]
    expected: ExpectedPlan = None


@bp.get("/api/rollout/<flag>/plan")
@require("viewer", scope=("read", "rollout"))
def get_plan(flag: str) -> Response:
    """`{plan, blocked, outcome?}`: the plan, or null; why the guardrail lets nothing grow, or null; whose share its
    percentages are, where they are not of all users. Its `seen` is sent back as `expected` by whoever acts on what they
    saw."""
    return _plan_response(db.session(), require_flag(flag))


@bp.put("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def put_plan(flag: str) -> Response:
    """`{steps: [{percentage, holdMinutes}], reason, expected?}` takes the place of the plan there was: of the caller's
    own, or of the one named by `expected` (null: there was none). `409`, with the `plan`, where it is another one."""
    which, wanted = require_flag(flag), PlanBody.model_validate(request.get_json())
    steps = [step.model_dump(by_alias=True) for step in wanted.steps]
    with write() as session:
        plan_service.begin_plan(session, which, actor().name, wanted.reason, steps, wanted.seen)
        return _plan_response(session, which)


@bp.patch("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def patch_plan(flag: str) -> Response:
    """`{action: pause | resume, expected?}`; what was held before a pause counts."""
    which, wanted = require_flag(flag), PlanActionBody.model_validate(request.get_json())
    with write() as session:
        plan_service.steer_plan(session, which, actor().name, wanted.action, wanted.expected)
        return _plan_response(session, which)


@bp.delete("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def delete_plan(flag: str) -> Response:
    """The flag stays where it is. `expected=` stops that plan alone."""
    which = require_flag(flag)
    with write() as session:
        plan_service.stop_plan(session, which, actor().name, request.args.get("expected"))
        return _plan_response(session, which)


@bp.post("/api/client-reports")
@require("viewer")
def post_report() -> Response:
    """A page's own measurements since its last report; nothing of the person is kept but the cohort.

    The server says which that is; what was measured in the other one is dropped. 429 within 30 s of the last.
    """
    who, given = actor(), client_reports.ClientReport.model_validate(request.get_json())
    turnstile: client_reports.ReportLimiter = current_app.extensions["beacon_report_turnstile"]
    login = who.login_id or who.name
    if not turnstile.allow(login):
        raise Problem(429, "Too many reports", "One a 30 s is enough.", headers=retry_after(20, 40), reason="rate")
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

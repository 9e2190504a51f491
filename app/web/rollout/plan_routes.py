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
from app.flags.provider import provider
from app.infra.problems import Problem, build_retry_after
from app.rollout import client_reports, controller, flag_changes, plan_service
from app.rollout.flag_changes import named
from app.rollout.plan import MAX_HOLD_MINUTES, MAX_STEPS
from app.rollout.report_buffer import tally
from app.web.auth import actor, require
from app.web.rollout import bp
from app.web.rollout.routes import Percentage, Reason

ExpectedPlan = Annotated[str, StringConstraints(max_length=100)] | None
_SHAPE = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class PlannedStep(BaseModel):
    model_config = _SHAPE

    percentage: Percentage
    hold_minutes: float = Field(ge=0, le=MAX_HOLD_MINUTES, strict=False)


class Planned(BaseModel):
    model_config = _SHAPE

    steps: list[PlannedStep] = Field(max_length=MAX_STEPS)
    reason: Reason
    expected: ExpectedPlan = None

    @property
    def seen(self) -> str | None:
        """None where the caller says nothing; empty where they say that they saw no plan."""
        return (self.expected or "") if "expected" in self.model_fields_set else None


class Steered(BaseModel):
    model_config = _SHAPE

    action: Literal["pause", "resume"]
    expected: ExpectedPlan = None


@bp.get("/api/rollout/<flag>/plan")
@require("viewer", scope=("read", "rollout"))
def shown(flag: str) -> Response:
    """`{plan, blocked, outcome?}`: the plan, or null; why the guardrail lets nothing grow, or null; whose share its
    percentages are, where they are not of all users. Its `seen` is sent back as `expected` by whoever acts on what they
    saw."""
    return _answer(db.session(), named(flag))


@bp.put("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def begin(flag: str) -> Response:
    """`{steps: [{percentage, holdMinutes}], reason, expected?}` takes the place of the plan there was: of the caller's
    own, or of the one named by `expected` (null: there was none). `409`, with the `plan`, where it is another one."""
    which, wanted = named(flag), Planned.model_validate(request.get_json())
    steps = [step.model_dump(by_alias=True) for step in wanted.steps]
    with write() as session:
        plan_service.begin(session, which, actor().name, wanted.reason, steps, wanted.seen)
        return _answer(session, which)


@bp.patch("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def steer(flag: str) -> Response:
    """`{action: pause | resume, expected?}`; what was held before a pause counts."""
    which, wanted = named(flag), Steered.model_validate(request.get_json())
    with write() as session:
        plan_service.steer(session, which, actor().name, wanted.action, wanted.expected)
        return _answer(session, which)


@bp.delete("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def stop(flag: str) -> Response:
    """The flag stays where it is. `expected=` stops that plan alone."""
    which = named(flag)
    with write() as session:
        plan_service.stop(session, which, actor().name, request.args.get("expected"))
        return _answer(session, which)


@bp.post("/api/client-reports")
@require("viewer")
def report() -> Response:
    """A page's own measurements since its last report; nothing of the person is kept but the cohort.

    The server says which that is; what was measured in the other one is dropped. 429 within 30 s of the last.
    """
    who, given = actor(), client_reports.Report.model_validate(request.get_json())
    turnstile: client_reports.Turnstile = current_app.extensions["beacon_report_turnstile"]
    login = who.login_id or who.name
    if not turnstile.admits(login):
        raise Problem(
            429, "Too many reports", "One a 30 s is enough.", headers=build_retry_after(20, 40), reason="rate"
        )
    cohort = "streaming" if is_enabled(Flag.SSE_STREAMING, who.name) else "polling"
    if given.is_of(cohort):
        tally().note(cohort, login, given)
    return Response(status=204)


def _answer(session: Session, flag: Flag) -> Response:
    session.flush()
    row = session.get(PlanRow, flag)
    outcome = flag_changes.describe_steps(flag, provider().view(session, flag))
    return jsonify(
        plan=None if row is None else plan_service.as_json(row),
        blocked=controller.blocked_by(session, flag),
        **({} if outcome is None else {"outcome": outcome}),
    )

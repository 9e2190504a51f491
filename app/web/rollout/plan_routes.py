"""API of plans and limits (`/api/rollout/{flag}/plan`, `/limits`) and of client reports (`/api/client-reports`)."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from flask import Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from sqlalchemy.orm import Session

from app.components import components
from app.config import current_settings
from app.db import db, write
from app.flags.document import Flag
from app.flags.evaluation import is_enabled
from app.flags.models import PlanRow
from app.flags.provider import current_provider
from app.infra.problems import Problem, build_retry_after
from app.rollout import (
    client_reports,
    controller,
    flag_changes,
    guardrail_limits,
    plan_archive,
    plan_decisions,
    plan_forecast,
    plan_service,
    plan_status,
)
from app.rollout.evidence import MAX_MINIMUM
from app.rollout.flag_changes import require_flag
from app.rollout.guardrail import GuardrailMode
from app.rollout.plan import MAX_HOLD_MINUTES, MAX_STEPS, PlanStep
from app.rollout.plan_options import PlanOptions
from app.rollout.report_buffer import current_report_buffer
from app.rollout.schedule import InvalidSchedule
from app.web.auth import actor, require
from app.web.rollout import bp
from app.web.rollout.limits_form import MAX_QUERY_CHARS
from app.web.rollout.routes import Percentage, Reason

ExpectedPlan = Annotated[str, StringConstraints(max_length=100)] | None
_BODY_CONFIG = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class PlanStepBody(BaseModel):
    model_config = _BODY_CONFIG

    percentage: Percentage
    hold_minutes: float = Field(ge=0, le=MAX_HOLD_MINUTES, strict=False)


_Minimum = Annotated[int, Field(ge=0, le=MAX_MINIMUM)] | None
# Nobody connected is never health, whatever a plan says.
_MinimumOfSomebody = Annotated[int, Field(ge=1, le=MAX_MINIMUM)] | None


class MinimumsBody(BaseModel):
    """What each step needs before the next one follows; omitted or null: the default, which grows with the number of
    people who could be in."""

    model_config = _BODY_CONFIG

    people: _MinimumOfSomebody = None
    connects: _MinimumOfSomebody = None
    stream_minutes: _Minimum = None
    events: _Minimum = None


class QuietHoursBody(BaseModel):
    """Every day `from` until `to` (`22:00`), by the clock of `zone` (UTC)."""

    model_config = _BODY_CONFIG

    begin: Annotated[str, StringConstraints(max_length=8)] = Field(alias="from")
    end: Annotated[str, StringConstraints(max_length=8)] = Field(alias="to")
    zone: Annotated[str, StringConstraints(max_length=100)] = "UTC"


class PlanBody(BaseModel):
    model_config = _BODY_CONFIG

    steps: list[PlanStepBody] = Field(max_length=MAX_STEPS)
    reason: Reason
    expected: ExpectedPlan = None
    minimums: MinimumsBody | None = None
    on_trouble: Literal["hold", "step-back", "start", "off"] | None = None
    approval: bool = False
    start_at: Annotated[str, StringConstraints(max_length=40)] | None = None
    quiet_hours: QuietHoursBody | None = None

    @property
    def options(self) -> PlanOptions:
        """Raises the 400 `Problem` if a time is invalid."""
        try:
            return PlanOptions.of(self.model_dump(by_alias=True))
        except InvalidSchedule as error:
            raise Problem(400, "Invalid plan", str(error), errors={"schedule": str(error)}) from error

    @property
    def seen(self) -> str | None:
        """None if the caller sent no `expected`; empty if they expect that there is no plan."""
        return (self.expected or "") if "expected" in self.model_fields_set else None


class LimitsBody(BaseModel):
    model_config = _BODY_CONFIG

    mode: GuardrailMode | None = None
    max_failures: Annotated[float, Field(ge=0, le=1, strict=False)] | None = None
    max_lag_s: Annotated[float, Field(gt=0, le=86_400, strict=False)] | None = None
    min_attempts: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    query: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_QUERY_CHARS)] | None = None
    max_value: Annotated[float, Field(allow_inf_nan=False, strict=False)] | None = None
    reason: Reason
    expected: Annotated[str, StringConstraints(max_length=40)] | None = None

    @property
    def changes(self) -> dict[str, Any]:
        return self.model_dump(exclude={"reason", "expected"}, exclude_none=True)

    @property
    def seen(self) -> str | None:
        """None if the caller sent no `expected`; empty if they expect the limits of the settings."""
        return (self.expected or "") if "expected" in self.model_fields_set else None


class PlanActionBody(BaseModel):
    model_config = _BODY_CONFIG

    action: Literal["pause", "resume", "go-on", "approve"]
    reason: Reason | None = None
    expected: ExpectedPlan = None


@bp.get("/api/rollout/<flag>/plan")
@require("viewer", scope=("read", "rollout"))
def get_plan(flag: str) -> Response:
    """`{plan, blocked, evidence?, last?, outcome?}`: the plan or null; why the guardrail blocks increases, or null;
    with a plan, what was seen of its current step and what it waits for; the plan that ended last; what the
    percentages refer to, if not to all users. Callers send the plan's `seen` back as `expected`."""
    return _plan_response(db.session(), require_flag(flag))


@bp.put("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def put_plan(flag: str) -> Response:
    """`{steps: [{percentage, holdMinutes}], reason, expected?}` replaces the caller's own plan, or the one given by
    `expected` (null: no plan). `409`, with the `plan`, if there is another one.

    Optional: `minimums` (`{people?, connects?, streamMinutes?, events?}`), `onTrouble` (`hold`, `step-back`, `start`,
    `off`), `approval` (another person approves each step), `startAt`, `quietHours` (`{from, to, zone?}`). The response
    also has `warnings`: holds that are shorter than the evidence can take.
    """
    which, wanted = require_flag(flag), PlanBody.model_validate(request.get_json())
    steps = [step.model_dump(by_alias=True) for step in wanted.steps]
    options = wanted.options
    warnings = plan_forecast.forecast_waits(
        [PlanStep(step.percentage, step.hold_minutes * 60) for step in wanted.steps], options
    )
    with write() as session:
        plan_service.begin_plan(session, which, actor().name, wanted.reason, steps, wanted.seen, options)
        return _plan_response(session, which, warnings=warnings)


@bp.patch("/api/rollout/<flag>/plan")
@require("product", scope="rollout")
def patch_plan(flag: str) -> Response:
    """`{action: pause | resume | go-on | approve, reason?, expected?}`. Somebody else's plan only with `expected`.

    The time held before a pause counts. `go-on`: the current step needs no more evidence; it takes a `reason`.
    `approve`: the next step of somebody else's plan may follow.
    """
    which, wanted = require_flag(flag), PlanActionBody.model_validate(request.get_json())
    who = actor().name
    with write() as session:
        if wanted.action == "go-on":
            plan_decisions.go_on_without_evidence(session, which, who, wanted.reason or "", wanted.expected)
        elif wanted.action == "approve":
            plan_decisions.approve_next_step(session, which, who, wanted.expected)
        else:
            plan_service.steer_plan(session, which, who, wanted.action, wanted.expected)
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


@bp.get("/api/rollout/<flag>/limits")
@require("viewer", scope=("read", "rollout"))
def get_limits(flag: str) -> Response:
    """`{mode, maxFailures, maxLagS, minAttempts, query, maxValue, actor, changedAt}`; the last two are null if the
    limits are those of the settings. `query` is a Prometheus query whose value must not exceed `maxValue`."""
    found = guardrail_limits.load_limits(db.session(), require_flag(flag), current_settings())
    return jsonify(found.as_json())


@bp.put("/api/rollout/<flag>/limits")
@require("product", scope="rollout")
def put_limits(flag: str) -> Response:
    """`{mode?, maxFailures?, maxLagS?, minAttempts?, query?, maxValue?, reason, expected?}`; omitted limits stay. They
    apply within seconds. `expected` is the `changedAt` that the caller saw (null: never changed): `409`, with the
    `limits`, if it is another one now."""
    which, wanted = require_flag(flag), LimitsBody.model_validate(request.get_json())
    settings = current_settings()
    with write() as session:
        now = guardrail_limits.load_limits(session, which, settings).limits
        after = replace(now, **wanted.changes)
        guardrail_limits.change_limits(session, which, settings, actor().name, wanted.reason, after, wanted.seen)
        return jsonify(guardrail_limits.load_limits(session, which, settings).as_json())


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
        current_report_buffer().add(cohort, who.name, given)
    return Response(status=204)


def _plan_response(session: Session, flag: Flag, **more: object) -> Response:
    session.flush()
    row, view = session.get(PlanRow, flag), current_provider().view(session, flag)
    found = plan_status.load_evidence(session, flag, row, view, current_settings())
    said = {
        "outcome": flag_changes.describe_steps(flag, view),
        "evidence": None if row is None else plan_status.evidence_as_json(found),
        "last": plan_archive.load_last_plan(session, flag),
    }
    return jsonify(
        plan=None if row is None else plan_service.plan_as_json(row),
        blocked=controller.find_block_reason(session, flag),
        **{name: value for name, value in said.items() if value is not None},
        **more,
    )

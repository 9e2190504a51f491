"""Form submissions of the rollout page: `POST /rollout` and `/rollout/plan`, with or without scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flask import redirect, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from app.config import current_settings
from app.db import db, write
from app.flags.provider import current_provider
from app.infra.problems import Problem
from app.rollout import flag_changes, guardrail_limits, plan_decisions, plan_service
from app.web.auth import actor, require
from app.web.errors import wants_page
from app.web.rollout import bp, limits_form
from app.web.rollout.rollout_form import (
    DEFAULT_PLAN,
    FLAG,
    NOT_CONFIRMED,
    PlanForm,
    RolloutForm,
    parse_options,
    parse_reason,
)
from app.web.rollout.views import render_rollout_page, to_form_error

# The review is at `#review`, and a redirect without its own fragment would lead there again.
MAIN_FRAGMENT, PLAN_FRAGMENT = "#main", "#plan"


@bp.post("/rollout")
@require("product")
def submit_change() -> ResponseReturnValue:
    """`do=set` with the reviewed change, `zero` or `off`. 303 to the page; a refusal keeps the typed input."""
    what, form = request.form.get("do", ""), _parse_form()
    try:
        if what in ("off", "zero"):
            _take_back(what)
        elif what == "set":
            _set_rollout(form)
        else:
            raise Problem(400, "Nothing to do", "Expected do=set, zero or off.")
    except Problem as problem:
        if not wants_page():
            raise
        db.session.remove()  # data read earlier may be older than the conflicting change
        if what == "set":
            return render_rollout_page(form, to_form_error(problem, "review"), problem.status)
        return render_rollout_page(
            _parse_form({}), to_form_error(problem, "bar"), problem.status, take_back=parse_reason(request.form)
        )
    return redirect(f"/rollout{form.page_query}{MAIN_FRAGMENT}", 303)


@bp.get("/rollout/plan")
@require("viewer")
def redirect_to_plan() -> ResponseReturnValue:
    """A refused plan is shown at this URL, which people reload and copy."""
    return redirect(f"/rollout{_parse_form({}).page_query}{PLAN_FRAGMENT}", 303)


@bp.post("/rollout/plan")
@require("product")
def submit_plan() -> ResponseReturnValue:
    """`do=start` with `percentage` and `minutes` of each step and a reason, `go-on` with `goOnReason`, or `pause`,
    `resume`, `approve`, `stop`. `seenPlan` is the plan that was shown."""
    what, form = request.form.get("do", ""), _parse_form({})
    try:
        with write() as session:
            _apply_plan_action(session, what, request.form.get("seenPlan"))
    except Problem as problem:
        if not wants_page():
            raise
        error, typed = to_form_error(problem, "plan"), PlanForm.of(request.form)
        if what != "start":
            return render_rollout_page(form, error, problem.status, plan=replace(DEFAULT_PLAN, seen=typed.seen))
        if problem.status == 409:  # the page now shows the other plan instead of the typed one
            error = replace(error, words=f"{error.words} {typed.summary}")
            typed = replace(DEFAULT_PLAN, seen=typed.seen)
        return render_rollout_page(form, error, problem.status, plan=typed)
    return redirect(f"/rollout{form.page_query}{PLAN_FRAGMENT}", 303)


@bp.post("/rollout/limits")
@require("product")
def submit_limits() -> ResponseReturnValue:
    """The guardrail's limits: `mode`, `maxFailures` in percent, `maxLagS`, `minAttempts`, and a reason. `limitsSeen` is
    when the limits that were shown were changed."""
    form = _parse_form()
    try:
        wanted, seen = limits_form.parse_limits(request.form), request.form.get("limitsSeen")
        if not form.reason:
            raise Problem(400, "No reason", "Give a reason: people will want to know why.")
        with write() as session:
            guardrail_limits.change_limits(session, FLAG, current_settings(), actor().name, form.reason, wanted, seen)
    except Problem as problem:
        if not wants_page():
            raise
        db.session.remove()
        return render_rollout_page(_parse_form({}), to_form_error(problem, "limits"), problem.status)
    return redirect(f"/rollout{form.page_query}#guardrail", 303)


def _apply_plan_action(session: Session, what: str, seen: str | None) -> None:
    who = actor().name
    if what == "start":
        steps, options = _require_confirmation(session, _parse_steps()), parse_options(request.form)
        plan_service.begin_plan(session, FLAG, who, _parse_plan_reason(), steps, seen, options)
    elif what == "go-on":
        reason = RolloutForm.of({"reason": request.form.get("goOnReason", "")}).reason
        plan_decisions.go_on_without_evidence(session, FLAG, who, reason, seen)
    elif what == "approve":
        plan_decisions.approve_next_step(session, FLAG, who, seen)
    elif what == "pause":
        plan_service.steer_plan(session, FLAG, who, "pause", seen)
    elif what == "resume":
        plan_service.steer_plan(session, FLAG, who, "resume", seen)
    elif what == "stop":
        plan_service.stop_plan(session, FLAG, who, seen)
    else:
        raise Problem(400, "Nothing to do", "Expected do=start, pause, resume, go-on, approve or stop.")


def _parse_form(members: Mapping[str, str] | None = None) -> RolloutForm:
    """Parse the form; the chart span comes from the query string."""
    given = request.form.to_dict() if members is None else members
    return RolloutForm.of({**given, "minutes": request.args.get("minutes", "")})


def _take_back(what: str) -> None:
    """Take the rollout back from any state, without a review."""
    percentage, enabled = (0, None) if what == "zero" else (None, False)
    flag_changes.change_flag(FLAG, actor().name, parse_reason(request.form), percentage, enabled, None)


def _set_rollout(form: RolloutForm) -> None:
    form.check(current_provider().view(db.session(), FLAG).state)
    enabled = True if form.on else None
    try:
        flag_changes.change_flag(FLAG, actor().name, form.reason, form.percentage, enabled, form.seen)
    except Problem as problem:
        if "current" not in problem.members or not _is_already_set(form):
            raise


def _is_already_set(form: RolloutForm) -> bool:
    """True if the same person already made this change for the same reason: a repeated click."""
    db.session.remove()
    now = current_provider().view(db.session(), FLAG)
    is_there = form.percentage in (None, now.state.percentage) and (now.state.enabled or not form.on)
    return is_there and (now.actor, now.reason) == (actor().name, form.reason)


def _parse_plan_reason() -> str:
    reason = RolloutForm.of(request.form).reason
    if not reason:
        raise Problem(400, "No reason", "Give a reason: people will want to know why.")
    return reason


def _parse_steps() -> Sequence[dict[str, Any]]:
    """The typed steps; rows without a percentage are skipped."""
    given = zip(request.form.getlist("percentage"), request.form.getlist("minutes"), strict=False)
    return [_parse_step(percentage.strip(), minutes.strip()) for percentage, minutes in given if percentage.strip()]


def _require_confirmation(session: Session, steps: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Reaching 100 % always needs typed confirmation, also in a plan."""
    if any(step["percentage"] == 100 for step in steps) and not RolloutForm.of(request.form).is_confirmed:
        will_be = flag_changes.describe_change(FLAG, current_provider().view(session, FLAG), 100, None)
        raise Problem(400, "Not confirmed", f"The plan ends at 100 %. {will_be} {NOT_CONFIRMED}")
    return steps


def _parse_step(percentage: str, minutes: str) -> dict[str, Any]:
    try:
        step = {"percentage": int(percentage), "holdMinutes": float(minutes)}
    except ValueError:
        step = {"percentage": -1, "holdMinutes": -1.0}
    if not (0 <= step["percentage"] <= 100 and 0 <= step["holdMinutes"] <= 30 * 24 * 60):
        raise Problem(400, "Invalid plan", "A step is a percentage from 0 to 100 and minutes from 0 to 43,200.")
    return step

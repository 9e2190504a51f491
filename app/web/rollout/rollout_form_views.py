"""`POST /rollout` and `/rollout/plan`: what people press on the page, with scripts or without."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flask import redirect, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from app.db import db, write
from app.flags.provider import provider
from app.infra.problems import Problem
from app.rollout import flag_changes, plan_service
from app.web.auth import actor, require
from app.web.errors import wants_page
from app.web.rollout import bp
from app.web.rollout.rollout_form import FLAG, NOT_CONFIRMED, STEPS, Asked, PlanAsked, reason_of
from app.web.rollout.views import page, said_of

# The review was at `#review`, and a redirect without a fragment of its own leads there again.
DONE, PLAN = "#main", "#plan"


@bp.post("/rollout")
@require("product")
def press() -> ResponseReturnValue:
    """`do=set` with what was reviewed, `zero` or `off`. 303 to the page; what is refused keeps what was typed."""
    what, asked = request.form.get("do", ""), _asked()
    try:
        if what in ("off", "zero"):
            _take_back(what)
        elif what == "set":
            _set(asked)
        else:
            raise Problem(400, "Nothing to do", "Say what to do: set, zero or off.")
    except Problem as problem:
        if not wants_page():
            raise
        db.session.remove()  # what was read before the press may be older than what stood in its way
        if what == "set":
            return page(asked, said_of(problem, "review"), problem.status)
        return page(_asked({}), said_of(problem, "bar"), problem.status, take_back=reason_of(request.form))
    return redirect(f"/rollout{asked.span}{DONE}", 303)


@bp.get("/rollout/plan")
@require("viewer")
def of_plan() -> ResponseReturnValue:
    """What was refused stands at this address: it is loaded again, and people copy it."""
    return redirect(f"/rollout{_asked({}).span}{PLAN}", 303)


@bp.post("/rollout/plan")
@require("product")
def plan() -> ResponseReturnValue:
    """`do=start` with `percentage` and `minutes` of each step and a reason, `pause`, `resume` or `stop`; `seenPlan` is
    the one that was shown."""
    what, asked = request.form.get("do", ""), _asked({})
    try:
        with write() as session:
            _steer(session, what, request.form.get("seenPlan"))
    except Problem as problem:
        if not wants_page():
            raise
        said, typed = said_of(problem, "plan"), PlanAsked.of(request.form)
        if what != "start":
            return page(asked, said, problem.status, plan=replace(STEPS, seen=typed.seen))
        if problem.status == 409:  # the other plan stands where this one was typed
            said, typed = replace(said, words=f"{said.words} {typed.words}"), replace(STEPS, seen=typed.seen)
        return page(asked, said, problem.status, plan=typed)
    return redirect(f"/rollout{asked.span}{PLAN}", 303)


def _steer(session: Session, what: str, seen: str | None) -> None:
    who = actor().name
    if what == "start":
        plan_service.begin(session, FLAG, who, _reason(), _confirmed(session, _steps()), seen)
    elif what == "pause":
        plan_service.steer(session, FLAG, who, "pause", seen)
    elif what == "resume":
        plan_service.steer(session, FLAG, who, "resume", seen)
    elif what == "stop":
        plan_service.stop(session, FLAG, who, seen)
    else:
        raise Problem(400, "Nothing to do", "Say what to do: start, pause, resume or stop.")


def _asked(members: Mapping[str, str] | None = None) -> Asked:
    """What the form says; which span of the evidence is looked at, its address does."""
    given = request.form.to_dict() if members is None else members
    return Asked.of({**given, "minutes": request.args.get("minutes", "")})


def _take_back(what: str) -> None:
    """From wherever it stands: nobody has to look again before it is taken back."""
    percentage, enabled = (0, None) if what == "zero" else (None, False)
    flag_changes.change(FLAG, actor().name, reason_of(request.form), percentage, enabled, None)


def _set(asked: Asked) -> None:
    asked.check(provider().view(db.session(), FLAG).nominal)
    enabled = True if asked.on else None
    try:
        flag_changes.change(FLAG, actor().name, asked.reason, asked.percentage, enabled, asked.seen)
    except Problem as problem:
        if "current" not in problem.members or not _stands(asked):
            raise


def _stands(asked: Asked) -> bool:
    """Whether it stands as asked by the same person for the same reason: a second press, which says nothing new."""
    db.session.remove()
    now = provider().view(db.session(), FLAG)
    is_there = asked.percentage in (None, now.nominal.percentage) and (now.nominal.enabled or not asked.on)
    return is_there and (now.actor, now.reason) == (actor().name, asked.reason)


def _reason() -> str:
    reason = Asked.of(request.form).reason
    if not reason:
        raise Problem(400, "No reason", "Give a reason: people will want to know why.")
    return reason


def _steps() -> Sequence[dict[str, Any]]:
    """Rows without a percentage are left out."""
    given = zip(request.form.getlist("percentage"), request.form.getlist("minutes"), strict=False)
    return [_step(percentage.strip(), minutes.strip()) for percentage, minutes in given if percentage.strip()]


def _confirmed(session: Session, steps: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Everybody is let in by nobody's slip, whether at once or by a plan."""
    if any(step["percentage"] == 100 for step in steps) and not Asked.of(request.form).is_confirmed:
        will_be = flag_changes.describe_change(FLAG, provider().view(session, FLAG), 100, None)
        raise Problem(400, "Not confirmed", f"The plan ends at 100 %. {will_be} {NOT_CONFIRMED}")
    return steps


def _step(percentage: str, minutes: str) -> dict[str, Any]:
    try:
        step = {"percentage": int(percentage), "holdMinutes": float(minutes)}
    except ValueError:
        step = {"percentage": -1, "holdMinutes": -1.0}
    if not (0 <= step["percentage"] <= 100 and 0 <= step["holdMinutes"] <= 30 * 24 * 60):
        raise Problem(400, "No plan", "A step is a percentage from 0 to 100 and minutes from 0 to 43,200.")
    return step

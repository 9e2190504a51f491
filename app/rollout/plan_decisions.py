"""What people decide about the current step of a plan: to go on without the evidence, or to approve the next step."""

from dataclasses import replace

from sqlalchemy.orm import Session

from app.flags.change_log import RolloutChange, record_change
from app.flags.document import Flag
from app.flags.embedded import lock_flags
from app.flags.models import PlanRow
from app.infra.problems import Problem
from app.rollout import plan_service
from app.rollout.plan_options import PlanOptions, PlanState


def go_on_without_evidence(session: Session, flag: Flag, who: str, reason: str, seen: str | None = None) -> None:
    """The current step needs no more evidence; its hold, the guardrail and approvals still count. Call it inside
    `db.write()`.

    Raises the 404 `Problem` if there is no plan, the 400 without a reason, and the 409 if the plan is not the one that
    was `seen`, or has no step yet.
    """
    row = _require_seen(session, flag, who, seen, "go on with")
    if not reason.strip():
        raise Problem(400, "No reason", "Give a reason: people will want to know why.")
    if row.step < 0:
        raise Problem(409, "No step yet", "The first step waits for no evidence. Nothing was changed.")
    state = replace(PlanState.parse(row.state_json), waived_step=row.step, waived_by=who, waived_reason=reason.strip())
    row.state_json = state.serialize()
    record_change(session, flag, RolloutChange(who, "manual", "waived", reason.strip()))


def approve_next_step(session: Session, flag: Flag, who: str, seen: str | None = None) -> None:
    """Approve the next step of somebody else's plan. Call it inside `db.write()`.

    Raises the 404 `Problem` if there is no plan, the 403 to the person who started it, and the 409 if the plan is not
    the one that was `seen`, or needs no approval.
    """
    lock_flags(session)
    row = plan_service.require_plan(session, flag)
    if row.actor == who:
        raise Problem(403, "Not your own plan", "Another person than the one who started the plan has to approve it.")
    plan_service.require_seen(row, who, seen, "approve")
    if not PlanOptions.parse(row.options_json).approval or plan_service.to_plan(row).is_last:
        raise Problem(409, "Nothing to approve", "The plan waits for no approval. Nothing was changed.")
    row.state_json = replace(PlanState.parse(row.state_json), approved_step=row.step + 1, approved_by=who).serialize()
    step = plan_service.to_plan(row).steps[row.step + 1]
    record_change(
        session, flag, RolloutChange(who, "manual", "approved", f"step {row.step + 2}: {step.percentage:g} %")
    )


def _require_seen(session: Session, flag: Flag, who: str, seen: str | None, verb: str) -> PlanRow:
    lock_flags(session)
    row = plan_service.require_plan(session, flag)
    plan_service.require_seen(row, who, seen, verb)
    return row

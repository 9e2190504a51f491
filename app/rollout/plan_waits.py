"""Why a plan does not go on although its hold is over. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.infra.clock import display_minute, parse_utc
from app.rollout import evidence
from app.rollout.evidence import Measure, StepEvidence
from app.rollout.plan import Plan
from app.rollout.plan_options import PlanOptions, PlanState


@dataclass(frozen=True, slots=True)
class PlanStatus:
    """`measures`: the evidence of the current step; empty before the first. `waits`: what keeps the plan from its next
    step or its end beside its hold, in words; empty if nothing does. `needs_approval`: of another person."""

    measures: tuple[Measure, ...] = ()
    waits: tuple[str, ...] = ()
    needs_approval: bool = False

    @property
    def missing(self) -> str:
        return evidence.describe_missing(self.measures)


def find_status(
    plan: Plan, options: PlanOptions, state: PlanState, found: StepEvidence, now: float, unseen: str | None = None
) -> PlanStatus:
    """`unseen`: why nothing that is reported says anything about this percentage; None if it does."""
    measures: tuple[Measure, ...] = ()
    waits: list[str] = []
    if plan.step >= 0:
        measures = evidence.measure_evidence(found, options.minimums, plan.steps[plan.step].percentage)
        if state.waived_step != plan.step:
            waits += _find_missing(measures, plan, unseen)
        if state.differs_since is not None:
            waits.append(state.difference)
    needs_approval = options.approval and not plan.is_last and state.approved_step != plan.step + 1
    if not plan.is_last:
        waits += _find_schedule(plan, options, now)
        if needs_approval:
            waits.append("waits for the approval of another person")
    return PlanStatus(measures, tuple(waits), needs_approval)


def _find_missing(measures: Sequence[Measure], plan: Plan, unseen: str | None) -> list[str]:
    missing = evidence.describe_missing(measures)
    if unseen is not None and plan.steps[plan.step].percentage > 0:
        return [unseen]
    return [f"waits for {missing}"] if missing else []


def _find_schedule(plan: Plan, options: PlanOptions, now: float) -> list[str]:
    waits: list[str] = []
    if plan.step < 0 and options.start_at is not None and now < parse_utc(options.start_at).timestamp():
        waits.append(f"starts at {display_minute(options.start_at)}")
    if options.quiet is not None and options.quiet.contains(now):
        waits.append(f"no step in the quiet hours, {options.quiet}")
    return waits

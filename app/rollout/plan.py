"""A staged plan: percentages that only grow, each held for a time, the last one too. What is due now. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

MAX_STEPS = 20
MAX_HOLD_MINUTES = 30 * 24 * 60


@dataclass(frozen=True, slots=True)
class PlanStep:
    percentage: int
    hold_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """`step` is the one that was reached, -1 before the first; `since` when. Paused time does not count as held."""

    steps: tuple[PlanStep, ...]
    step: int
    since: float
    paused_at: float | None = None

    @property
    def is_last(self) -> bool:
        """Whether the step that was reached has none after it."""
        return self.step >= len(self.steps) - 1


@dataclass(frozen=True, slots=True)
class PlanDecision:
    """The plan from now on, and the percentage to set (None: leave it)."""

    plan: Plan
    percentage: int | None = None
    ended: str | None = None


def find_problem(steps: Sequence[PlanStep]) -> str | None:
    """Why these are no plan."""
    if not 1 <= len(steps) <= MAX_STEPS:
        return f"a plan has 1 to {MAX_STEPS} steps"
    if not all(0 <= step.percentage <= 100 and 0 <= step.hold_s <= MAX_HOLD_MINUTES * 60 for step in steps):
        return f"a step is a percentage from 0 to 100 and minutes from 0 to {MAX_HOLD_MINUTES:,}"
    percentages = [step.percentage for step in steps]
    if any(later <= earlier for earlier, later in pairwise(percentages)):
        return "each step is higher than the one before it"
    return None


def decide_next(plan: Plan, now: float, percentage: float, *, blocked: bool) -> PlanDecision:
    """What the plan wants at `now` from a flag at `percentage`; `blocked`: the guardrail lets nothing grow.

    Whoever moves the flag by hand ends the plan: it goes on from where it put the flag, or not at all. A clock that
    was stopped for hours still brings one step at a time.
    """
    if plan.paused_at is not None:
        return PlanDecision(plan)
    if plan.step >= 0 and percentage != plan.steps[plan.step].percentage:
        return PlanDecision(plan, ended=f"the flag was moved to {percentage} %")
    if plan.step >= 0 and now < plan.since + plan.steps[plan.step].hold_s:
        return PlanDecision(plan)
    if plan.step >= 0 and plan.is_last:
        return PlanDecision(plan, ended="its last step was held")
    if blocked:
        return PlanDecision(plan)
    following = plan.steps[plan.step + 1]
    if following.percentage < percentage:
        return PlanDecision(plan, ended=f"the flag is at {percentage} % already; a plan lowers nothing")
    return PlanDecision(replace(plan, step=plan.step + 1, since=now), following.percentage)


def pause_plan(plan: Plan, now: float) -> Plan:
    return plan if plan.paused_at is not None else replace(plan, paused_at=now)


def resume_plan(plan: Plan, now: float) -> Plan:
    """What was held before the pause counts."""
    return plan if plan.paused_at is None else replace(plan, since=plan.since + now - plan.paused_at, paused_at=None)

"""A staged plan: increasing percentages, each held for a time. Decides the next step. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

MAX_STEPS = 20
MAX_HOLD_MINUTES = 30 * 24 * 60


@dataclass(frozen=True, slots=True)
class PlanStep:
    percentage: float
    hold_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """`step` is the current step, -1 before the first; `since` is when it was reached. Paused time does not count."""

    steps: tuple[PlanStep, ...]
    step: int
    since: float
    paused_at: float | None = None

    @property
    def is_last(self) -> bool:
        """True if the current step is the last one."""
        return self.step >= len(self.steps) - 1

    def is_at(self, percentage: float) -> bool:
        """True if the flag is where the current step put it, or if there was no step yet."""
        return self.step < 0 or self.steps[self.step].percentage == percentage


@dataclass(frozen=True, slots=True)
class PlanDecision:
    """The new state of the plan, and the percentage to set (None: no change). `ended`: why the plan is over."""

    plan: Plan
    percentage: float | None = None
    ended: str | None = None


def find_problem(steps: Sequence[PlanStep]) -> str | None:
    """Why these steps are not a valid plan; None if they are."""
    if not 1 <= len(steps) <= MAX_STEPS:
        return f"a plan has 1 to {MAX_STEPS} steps"
    if not all(0 <= step.percentage <= 100 and 0 <= step.hold_s <= MAX_HOLD_MINUTES * 60 for step in steps):
        return f"a step is a percentage from 0 to 100 and minutes from 0 to {MAX_HOLD_MINUTES:,}"
    percentages = [step.percentage for step in steps]
    if any(later <= earlier for earlier, later in pairwise(percentages)):
        return "each step must be higher than the one before it"
    return None


def decide_next(plan: Plan, now: float, percentage: float, *, blocked: bool, waits: Sequence[str] = ()) -> PlanDecision:
    """Decide what the plan does at `now` with a flag at `percentage`. `blocked`: the guardrail blocks increases.
    `waits`: what else the plan waits for, such as evidence; its end waits for the same.

    A manual change of the flag ends the plan: it continues only from the percentage that it set itself. After hours of
    downtime it still takes one step at a time.
    """
    if plan.paused_at is not None:
        return PlanDecision(plan)
    if not plan.is_at(percentage):
        return PlanDecision(plan, ended=f"the flag was moved to {percentage:g} %")
    if plan.step >= 0 and now < plan.since + plan.steps[plan.step].hold_s:
        return PlanDecision(plan)
    if blocked or waits:
        return PlanDecision(plan)
    if plan.step >= 0 and plan.is_last:
        return PlanDecision(plan, ended="its last step was held")
    following = plan.steps[plan.step + 1]
    if following.percentage < percentage:
        return PlanDecision(plan, ended=f"the flag is already at {percentage:g} %; a plan never lowers it")
    return PlanDecision(replace(plan, step=plan.step + 1, since=now), following.percentage)


def pause_plan(plan: Plan, now: float) -> Plan:
    return plan if plan.paused_at is not None else replace(plan, paused_at=now)


def resume_plan(plan: Plan, now: float) -> Plan:
    """The time held before the pause counts."""
    return plan if plan.paused_at is None else replace(plan, since=plan.since + now - plan.paused_at, paused_at=None)

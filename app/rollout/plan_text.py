"""Text about plans, shared by the page and the command line. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.infra.clock import display_minute
from app.rollout.change_text import describe_minutes, describe_percentage
from app.rollout.evidence import StepEvidence, compute_needed
from app.rollout.plan import PlanStep
from app.rollout.plan_options import ON_TROUBLE, PlanOptions, PlanState


def describe_options(options: PlanOptions) -> tuple[str, ...]:
    """What the plan says beside its steps; empty if it says nothing."""
    said: list[str] = []
    minimums = options.minimums.as_json()
    if minimums:
        names = {"streamMinutes": "stream-minutes", "events": "events delivered"}
        counts = ", ".join(f"{number:,} {names.get(name, name)}" for name, number in minimums.items())
        said.append(f"each step needs at least {counts}")
    if options.on_trouble is not None:
        said.append(f"in trouble: {ON_TROUBLE[options.on_trouble]}")
    if options.approval:
        said.append("another person approves each step")
    if options.start_at is not None:
        said.append(f"not before {display_minute(options.start_at)}")
    if options.quiet is not None:
        said.append(f"no step from {options.quiet}")
    return tuple(said)


def describe_decisions(state: PlanState, step: int) -> tuple[str, ...]:
    """What people decided about the current step."""
    said: list[str] = []
    if state.waived_step == step:
        said.append(f"{state.waived_by}: this step goes on without the evidence: {state.waived_reason}")
    if state.approved_step == step + 1:
        said.append(f"the next step was approved by {state.approved_by}")
    return tuple(said)


def describe_stage(stage: Mapping[str, Any]) -> str:
    """`10 % from 2026-12-01 09:00 UTC: 5 people, 40 connects, 1 failed, 62 stream-minutes, 12 events delivered`"""
    trouble = "; the guardrail found trouble" if stage["hadTrouble"] else ""
    return (
        f"{describe_percentage(stage['percentage'])} from {display_minute(stage['beganAt'])}: "
        f"{stage['people']:,} people, {stage['connects']:,} connects, {stage['failures']:,} failed, "
        f"{stage['streamMinutes']:,} stream-minutes, {stage['events']:,} events delivered{trouble}"
    )


def find_short_holds(
    steps: Sequence[PlanStep], options: PlanOptions, online: int, connects_per_person_hour: float | None
) -> list[str]:
    """Which steps will have to wait for evidence longer than their hold, at the pace of the last hour. `online`: the
    people whose pages are open. None: the pace is unknown."""
    if online == 0:
        return ["nobody is online now, so how long the evidence takes is unknown"]
    said: list[str] = []
    for step in steps:
        if step.percentage == 0:
            continue
        inside = round(online * step.percentage / 100)
        needed = compute_needed(StepEvidence(reachable=inside), options.minimums)
        share = describe_percentage(step.percentage)
        if inside < (needed.people or 0):
            said.append(f"at {share} about {inside} of {online:,} online would be in; it needs {needed.people} people")
            continue
        # Everybody connects once when the step begins.
        missing = (needed.connects or 0) - inside
        if missing <= 0:
            continue
        if not connects_per_person_hour:
            said.append(f"at {share} it needs {needed.connects} connects, and nothing is known about their pace")
            continue
        minutes = 60 * missing / (inside * connects_per_person_hour)
        if minutes > step.hold_s / 60:
            hold = describe_minutes(step.hold_s / 60)
            said.append(f"at {share} the evidence takes about {describe_minutes(round(minutes))}, not {hold}")
    return said

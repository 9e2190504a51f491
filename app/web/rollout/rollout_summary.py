"""View models of the rollout page: history rows, the plan and texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from app.accounts.actors import Actor
from app.eventlog.event_types import ChangeKind
from app.flags.change_log import RolloutChange
from app.flags.models import PlanRow
from app.infra.clock import utc_text
from app.rollout import evidence, plan_service, plan_text
from app.rollout.change_text import describe_entry, describe_minutes
from app.rollout.plan import PlanStep
from app.rollout.plan_options import USUAL_OPTIONS, PlanOptions, PlanState
from app.rollout.plan_status import FlagEvidence
from app.rollout.plan_waits import PlanStatus
from app.web.rollout.rollout_form import FLAG

# State and word of entries that are not just done. That a plan ended does not mean that it succeeded.
WORDS: Mapping[ChangeKind, tuple[str, str]] = {
    "held": ("warning", "Held"),
    "would-hold": ("info", "Dry run"),
    "paused": ("paused", "Paused"),
    "ended": ("info", "Ended"),
}


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A row of the history table."""

    at: str
    actor: str
    what: str
    reason: str
    state: str
    word: str

    @classmethod
    def of(cls, entry: RolloutChange) -> Self:
        done = WORDS.get(entry.kind, _outcome(entry))
        outcome = ("error", "Not done") if entry.failed else done
        why = f"{entry.reason} ({entry.failed})" if entry.failed else entry.reason
        return cls(entry.at, entry.actor, describe_entry(entry), why, *outcome)


def _outcome(entry: RolloutChange) -> tuple[str, str]:
    is_taken_back = entry.cause == "guardrail" and entry.kind == "set"
    return ("warning", "Taken back") if is_taken_back else ("success", "Done")


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused a plan, and why; `reason` is empty if a person paused it, who gives none."""

    at: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class PlanView:
    """`steps` are `(text, state)` with the state `done`, `now` or `next`. `until` is when the hold of the current step
    is over. `pause` is also None if it is unknown who paused the plan. `seen` is the token that actions on the plan
    send back. `evidence` is what was seen of the current step; `waits` is what it waits for beside its hold. `rules`:
    what the plan says beside its steps. `decisions`: what people decided about the current step. `coming`: the current
    step and those after it.
    """

    steps: tuple[tuple[str, str], ...]
    paused: bool
    pause: Pause | None
    actor: str
    reason: str
    until: str | None
    seen: str
    is_last: bool
    evidence: str = ""
    waits: tuple[str, ...] = ()
    is_enough: bool = True
    needs_approval: bool = False
    rules: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    coming: tuple[PlanStep, ...] = ()
    options: PlanOptions = USUAL_OPTIONS

    @classmethod
    def of(cls, row: PlanRow, entries: Sequence[RolloutChange], found: FlagEvidence) -> Self:
        plan, status = plan_service.to_plan(row), found.status or PlanStatus()
        words = [f"{step.percentage:g} % for {describe_minutes(step.hold_s / 60)}" for step in plan.steps]
        states = ["done" if n < plan.step else "now" if n == plan.step else "next" for n in range(len(words))]
        options = PlanOptions.parse(row.options_json)
        until, paused = plan_service.find_next_time(row), plan.paused_at is not None
        return cls(
            tuple(zip(words, states, strict=True)),
            paused,
            _find_pause(entries) if paused else None,
            row.actor,
            row.reason,
            None if until is None else epoch_to_utc(until),
            plan_service.compute_seen(row),
            plan.is_last,
            evidence.describe_evidence(status.measures) if status.measures else "",
            status.waits,
            not status.missing,
            status.needs_approval,
            plan_text.describe_options(options),
            plan_text.describe_decisions(PlanState.parse(row.state_json), row.step),
            plan.steps[max(0, plan.step) :],
            options,
        )


@dataclass(frozen=True, slots=True)
class PastPlan:
    """The previous plan: its author, its steps with what was seen of them, and how it ended."""

    actor: str
    what: str
    reason: str
    at: str
    how: str
    stages: tuple[str, ...] = ()

    @classmethod
    def of(cls, plan: Mapping[str, Any] | None) -> Self | None:
        if plan is None:
            return None
        by = f" by {plan['endedBy']}" if plan["endedBy"] != "plan" else ""
        what = ", ".join(
            f"{step['percentage']:g} % for {describe_minutes(step['holdMinutes'])}" for step in plan["steps"]
        )
        stages = tuple(plan_text.describe_stage(stage) for stage in plan["evidence"])
        return cls(plan["actor"], what, plan["reason"], plan["endedAt"], f"{plan['end']}{by}", stages)


def _find_pause(entries: Sequence[RolloutChange]) -> Pause | None:
    """The pause, if it was the last action on the plan. `entries` are sorted newest first."""
    last = next((entry for entry in entries if entry.kind in ("started", "paused", "resumed")), None)
    if last is None or last.kind != "paused":
        return None
    return Pause(last.at, last.actor, last.reason)


def explain_missing_role(who: Actor) -> str:
    """Why the reader may not change the rollout; empty if they may."""
    return "" if who.has_role("product") else f"The rollout needs the role product; you are {who.role}."


def conflict_text(current: Mapping[str, Any], ago: str) -> str:
    """Describe the conflicting change: `Changed to 25 % by bob a minute ago. Nothing was set: review it again.`"""
    percentage = current.get("percentage")
    did = f"Changed to {percentage} %" if percentage is not None else "Changed in Unleash"
    did = did if current.get("enabled") else "Switched off"
    by = f" by {current['actor']}" if current.get("actor") else ""
    return f"{did}{by}{f' {ago}' if ago else ''}. Nothing was set: review it again."


def build_history(entries: Sequence[RolloutChange]) -> list[HistoryRow]:
    return [HistoryRow.of(entry) for entry in entries]


def epoch_to_utc(epoch: float) -> str:
    return utc_text(datetime.fromtimestamp(epoch, UTC))


AUDIT_URL = f"/audit?target={FLAG}"

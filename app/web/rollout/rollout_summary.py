"""View models of the rollout page: history rows, the plan and texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from app.accounts.actors import Actor
from app.flags.change_log import RolloutChange
from app.flags.models import PlanRow
from app.infra.clock import utc_text
from app.rollout import plan_service
from app.rollout.change_text import describe_entry, describe_minutes, describe_steps
from app.web.rollout.rollout_form import FLAG


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
        done = ("info", "Held") if entry.kind == "held" else ("success", "Done")
        outcome = ("error", "Not done") if entry.failed else done
        why = f"{entry.reason} ({entry.failed})" if entry.failed else entry.reason
        return cls(entry.at, entry.actor, describe_entry(entry), why, *outcome)


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused a plan, and why; `reason` is empty if a person paused it, who gives none."""

    at: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class PlanView:
    """`steps` are `(text, state)` with the state `done`, `now` or `next`. `until` is when the next step is due, or, if
    the current one `is_last`, when the plan ends. `pause` is also None if it is unknown who paused the plan. `seen` is
    the token that actions on the plan send back.
    """

    steps: tuple[tuple[str, str], ...]
    paused: bool
    pause: Pause | None
    actor: str
    reason: str
    until: str | None
    seen: str
    is_last: bool

    @classmethod
    def of(cls, row: PlanRow, entries: Sequence[RolloutChange]) -> Self:
        found = plan_service.to_plan(row)
        words = [f"{step.percentage} % for {describe_minutes(step.hold_s / 60)}" for step in found.steps]
        states = ["done" if n < found.step else "now" if n == found.step else "next" for n in range(len(words))]
        until = None
        if 0 <= found.step < len(found.steps) and found.paused_at is None:
            until = epoch_to_utc(found.since + found.steps[found.step].hold_s)
        paused = found.paused_at is not None
        steps, seen = tuple(zip(words, states, strict=True)), plan_service.compute_seen(row)
        return cls(
            steps, paused, _find_pause(entries) if paused else None, row.actor, row.reason, until, seen, found.is_last
        )


@dataclass(frozen=True, slots=True)
class PastPlan:
    """The previous plan: its author, its steps and how it ended, from the newest history entries."""

    actor: str
    what: str
    reason: str
    at: str
    how: str

    @classmethod
    def of(cls, entries: Sequence[RolloutChange]) -> Self | None:
        planned = [entry for entry in entries if entry.is_of_plan]
        start = next((entry for entry in planned if entry.kind == "started"), None)
        if start is None or planned[0].kind not in ("ended", "stopped"):
            return None
        end = planned[0]
        how = f"ended: {end.reason}" if end.kind == "ended" else f"stopped by {end.actor}"
        return cls(start.actor, describe_steps(start), start.reason, end.at, how)


def _find_pause(entries: Sequence[RolloutChange]) -> Pause | None:
    """The pause, if it was the last action on the plan. `entries` are sorted newest first."""
    last = next((entry for entry in entries if entry.is_of_plan), None)
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

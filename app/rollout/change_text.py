"""Text for the history of a rollout, shared by the page and the command line. Pure."""

from app.flags.change_log import RolloutChange
from app.flags.document import Rollout
from app.flags.worker_state import WorkerAgreement, WorkerGroup


def describe_entry(entry: RolloutChange) -> str:
    """`10 % → 25 %`, `plan started: 10 % for 1 h`, `held at 25 %`"""
    words = {"limits": "limits changed", "waived": "plan goes on without evidence", "approved": "next step approved"}
    if entry.kind in words:
        return words[entry.kind]
    if entry.is_of_plan:
        steps = describe_steps(entry)
        return f"plan {entry.kind}" + (f": {steps}" if steps else "")
    if entry.kind in ("held", "released", "would-hold"):
        done = "would hold" if entry.kind == "would-hold" else entry.kind
        return f"{done} at {describe_rollout(entry.after)}"
    return f"{describe_rollout(entry.before)} → {describe_rollout(entry.after)}"


def describe_rollout(rollout: Rollout | None) -> str:
    """`25 %`, `off (kept 25 %)`"""
    if rollout is None:
        return "—"
    share = describe_percentage(rollout.percentage)
    return share if rollout.enabled else f"off (kept {share})"


def describe_percentage(percentage: float | None) -> str:
    """`25 %`, `12.5 %`, `—` if unknown"""
    return "—" if percentage is None else f"{percentage:g} %"


def describe_minutes(minutes: float) -> str:
    """`45 min`, `2 h`, `1 h 30 min`"""
    if minutes < 120 and minutes != 60:
        return f"{minutes:g} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours:g} h" + (f" {rest:g} min" if rest else "")


def describe_steps(entry: RolloutChange) -> str:
    """`10 % for 1 h, 50 % for 30 min`; empty if the entry has no steps"""
    steps = [f"{step['percentage']} % for {describe_minutes(step['holdMinutes'])}" for step in entry.steps]
    return ", ".join(steps)


def describe_in_force(holding: WorkerAgreement | None) -> str:
    """`50 % in all 4 workers`, `off in 3 workers, 50 % in 1`; `—` if unknown"""
    if holding is None or not holding.in_force:
        return "—"
    if len(holding.in_force) == 1:
        place = "the only worker" if holding.total == 1 else f"all {holding.total} workers"
        return f"{_describe_group(holding.in_force[0])} in {place}"
    first, *others = holding.in_force
    workers = "worker" if first.workers == 1 else "workers"
    said = [
        f"{_describe_group(first)} in {first.workers} {workers}",
        *(f"{_describe_group(one)} in {one.workers}" for one in others),
    ]
    return ", ".join(said)


def _describe_group(one: WorkerGroup) -> str:
    return describe_percentage(one.percentage) if one.enabled else "off"

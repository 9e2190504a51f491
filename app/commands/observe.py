"""Success means observed: what the service shows before and after, by reading it and by the poller's next look."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app.clock import parse_utc, utc_now, utc_text
from app.commands import steps
from app.commands.claims import Claim
from app.commands.models import CommandRow, ItemRow
from app.commands.steps import Asking
from app.db import now_epoch, read
from app.reconciliation.models import ServiceState
from app.sources.base import Order, Source, SourceError

# Reading what was done: all of it together, and again and again where it does not show yet.
CONFIRM_S = 10.0
RESTART_S = 20.0
CONFIRM_EVERY_S = 0.2
RECONCILED_S = 5.0
LOOK_S = 0.05
# Where nobody has polled for so long nobody will.
POLLED_WITHIN = timedelta(minutes=2)


def before(source: Source, row: CommandRow) -> dict[str, Any]:
    """How things are before anything is asked: counts as believed, the state of a single job as its service says."""
    with read() as session:
        state = session.get(ServiceState, row.service_id)
    found: dict[str, Any] = {"counts": _counts(state)}
    if state is not None and state.instance_id is not None:
        found["instanceId"] = state.instance_id
    if row.total == 1 and row.action in ("retry-job", "delete-job"):
        found["state"] = _state_of(source, _only_target(row.id))
    return found


def conclude(claim: Claim, source: Source, was: Mapping[str, Any], order_of: Callable[[Asking], Order]) -> None:
    """Look for the effect, wait for the service to be reconciled, say what was seen, and end the command."""
    row = steps.load(claim)
    is_confirmed = _confirm(claim, source, row, order_of)
    counts = _reconciled(row)
    took_s = _database_now() - (row.acted_at or 0.0)
    after: dict[str, Any] = {"counts": counts, "done": row.done, "failed": row.failed}
    if row.total == 1 and row.action in ("retry-job", "delete-job"):
        after["state"] = _state_of(source, _only_target(row.id))
    after |= _effect(row) if row.total == 1 else {}
    verified = is_confirmed and row.done > 0
    said = _words(row, was, after, verified, took_s)
    steps.finish(claim, _phase(row), verified, was, after, said)


def _phase(row: CommandRow) -> str:
    if row.failed == 0:
        return "success"
    return "timeout" if row.total == 1 and _only_state(row.id) == "timeout" else "error"


def _confirm(claim: Claim, source: Source, row: CommandRow, order_of: Callable[[Asking], Order]) -> bool:
    """Whether reading showed all that was done."""
    left = steps.unconfirmed(claim)
    deadline = time.monotonic() + (RESTART_S if row.action == "restart-service" else CONFIRM_S)
    seen: list[int] = []
    while left:
        found = {asking.place for asking in left if _shows(source, order_of(asking), asking.asked_at, deadline)}
        seen += found
        left = [asking for asking in left if asking.place not in found]
        if time.monotonic() >= deadline:
            break
        if left:
            time.sleep(CONFIRM_EVERY_S)
    if seen:
        steps.confirm(claim, seen)
    return not left


def _shows(source: Source, order: Order, asked_at: datetime, deadline: float) -> bool:
    if time.monotonic() >= deadline:
        return False
    with suppress(SourceError):
        said = source.settle(order, asked_at)
        return said is not None and said.outcome == "done"
    return False


def _reconciled(row: CommandRow) -> dict[str, int] | None:
    """The counts of the first look that began after the last answer; None where there is none in time.

    The event of that answer has every worker's tail poke its poller, and one of them polls.
    """
    since = utc_text(datetime.fromtimestamp(row.acted_at or 0.0, UTC))
    deadline = time.monotonic() + RECONCILED_S
    while time.monotonic() < deadline:
        with read() as session:
            state = session.get(ServiceState, row.service_id)
        if state is None or state.last_poll_at is None or utc_now() - parse_utc(state.last_poll_at) > POLLED_WITHIN:
            return None
        if state.heard_at is not None and state.heard_at >= since and not state.failing_since:
            return _counts(state)
        time.sleep(LOOK_S)
    return None


def _words(row: CommandRow, was: Mapping[str, Any], after: Mapping[str, Any], verified: bool, took_s: float) -> str:
    """ "failed 12 → 11, job 7f3 queued, verified 0.4 s later"."""
    parts = _changes(was.get("counts"), after.get("counts"))
    if row.total > 1:
        parts.append(f"{row.done:,} of {row.total:,} done" + (f", {row.failed:,} failed" if row.failed else ""))
    elif after.get("state"):
        parts.append(f"job {row.target} {after['state']}")
    parts.append(f"verified {took_s:.1f} s later" if verified else "not verified")
    return ", ".join(parts)


def _changes(was: Mapping[str, int] | None, now: Mapping[str, int] | None) -> list[str]:
    if not was or not now:
        return []
    states = [state for state in {**was, **now} if was.get(state, 0) != now.get(state, 0)]
    return [f"{state} {was.get(state, 0):,} → {now.get(state, 0):,}" for state in states]


def _counts(state: ServiceState | None) -> dict[str, int] | None:
    if state is None or state.payload_json is None:
        return None
    counts: dict[str, int] = json.loads(state.payload_json)["counts"]
    return counts or None


def _state_of(source: Source, job_id: str) -> str | None:
    if source.capabilities.why_not("detail") is not None:
        return None
    with suppress(SourceError):
        detail = source.detail(job_id)
        return "gone" if detail is None else detail.job.state
    return None


def _only_item(command_id: str) -> ItemRow:
    with read() as session:
        return session.scalars(sa.select(ItemRow).where(ItemRow.command_id == command_id)).one()


def _only_target(command_id: str) -> str:
    return _only_item(command_id).target


def _only_state(command_id: str) -> str:
    return _only_item(command_id).state


def _effect(row: CommandRow) -> dict[str, Any]:
    text = _only_item(row.id).effect_json
    effect: dict[str, Any] = json.loads(text) if text else {}
    return {name: value for name, value in effect.items() if name != "jobIds"}


def _database_now() -> float:
    with read() as session:
        return session.execute(sa.select(now_epoch())).scalar_one()

"""Success means observed: what the service shows before and after, by reading it and by the poller's next look."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app.commands import command_store, effects
from app.commands.command_store import Asking
from app.commands.leases import Claim
from app.commands.models import CommandRow, ItemRow
from app.db import now_epoch, read
from app.infra.clock import parse_utc, utc_now, utc_text
from app.reconciliation.models import ServiceState
from app.sources.protocol import Operation, Source, SourceError

log = logging.getLogger(__name__)

# Reading what was done: so long for each thing, then so long again and again what does not show yet.
EACH_S = 0.1
CONFIRM_S = 10.0
RESTART_S = 20.0
PAGE = 100
# For the reads that are bounds of the source itself.
SPARE_S = 60.0
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
        found["state"] = effects.state_of(source, _only_item(row.id).target)
    return found


def conclude(claim: Claim, source: Source, was: Mapping[str, Any], order_of: Callable[[Asking], Operation]) -> None:
    """Look for the effect, wait for the service to be reconciled, say what was seen, and end the command."""
    row = command_store.load(claim)
    is_confirmed = _confirm(claim, source, row, order_of)
    counts = _reconciled(row)
    took_s = _database_now() - (row.acted_at or 0.0)
    verified = is_confirmed and row.done > 0
    effect = _effect(row) if row.total == 1 else {}
    found = effects.look_afterwards(source, row, took_s, is_confirmed=verified)
    after: dict[str, Any] = {"counts": counts, "done": row.done, "failed": row.failed, **effect}
    if found.state is not None:  # what was read counts, not what the service said that it would do
        after["state"] = found.state
    said = effects.words(row, effect, found, took_s, verified=verified)
    command_store.finish(claim, _phase(row), verified, was, after, said)


def _phase(row: CommandRow) -> str:
    if row.failed == 0:
        return "success"
    return "timeout" if row.total == 1 and _only_state(row.id) == "timeout" else "error"


def longest_s(row: CommandRow) -> float:
    """When looking at what came of it is overdue: whoever still has it then hangs."""
    return _confirm_s(row) + EACH_S * row.total + RECONCILED_S + effects.FOLLOW_S + SPARE_S


def _confirm_s(row: CommandRow) -> float:
    return RESTART_S if row.action == "restart-service" else CONFIRM_S


def _confirm(claim: Claim, source: Source, row: CommandRow, order_of: Callable[[Asking], Operation]) -> bool:
    """Whether reading showed all that was done: each thing once, then again what does not show yet."""
    left = _pass(claim, source, order_of, time.monotonic() + _confirm_s(row) + EACH_S * row.total)
    deadline = time.monotonic() + _confirm_s(row)
    while left and time.monotonic() < deadline:
        time.sleep(CONFIRM_EVERY_S)
        left = _pass(claim, source, order_of, deadline)
    return not left


def _pass(claim: Claim, source: Source, order_of: Callable[[Asking], Operation], deadline: float) -> int:
    """How many do not show. What was seen is remembered page by page, and whoever lost the command stops at that."""
    left, after = 0, -1
    while page := command_store.unconfirmed(claim, after, PAGE):
        seen = [asking.place for asking in page if _shows(source, order_of(asking), asking.asked_at, deadline)]
        if seen:
            command_store.confirm(claim, seen)
        left += len(page) - len(seen)
        after = page[-1].place
    return left


def _shows(source: Source, order: Operation, asked_at: datetime, deadline: float) -> bool:
    if time.monotonic() >= deadline:
        return False
    try:
        return source.verify_effect(order, asked_at)
    except SourceError:
        return False
    except Exception:  # a mistake in a kind of source: then it was not seen
        log.exception("a source failed in a way of its own")
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


def _counts(state: ServiceState | None) -> dict[str, int] | None:
    if state is None or state.payload_json is None or state.failing_since:
        return None
    counts: dict[str, int] = json.loads(state.payload_json)["counts"]
    return counts or None


def _only_item(command_id: str) -> ItemRow:
    with read() as session:
        return session.scalars(sa.select(ItemRow).where(ItemRow.command_id == command_id)).one()


def _only_state(command_id: str) -> str:
    return _only_item(command_id).state


def _effect(row: CommandRow) -> dict[str, Any]:
    text = _only_item(row.id).effect_json
    effect: dict[str, Any] = json.loads(text) if text else {}
    return {name: value for name, value in effect.items() if name != "jobIds"}


def _database_now() -> float:
    with read() as session:
        return session.execute(sa.select(now_epoch())).scalar_one()

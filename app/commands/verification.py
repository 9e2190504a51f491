"""Verifies a command's effect by reading the service: a command succeeds only if its effect was observed."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app.commands import command_store, effects
from app.commands.actions import ACTIONS
from app.commands.command_store import ItemAttempt
from app.commands.leases import Claim
from app.commands.models import CommandRow, ItemRow
from app.db import now_epoch, read
from app.infra.clock import parse_utc, utc_now, utc_text
from app.reconciliation.models import ServiceState
from app.sources.protocol import Operation, Source, SourceError

log = logging.getLogger(__name__)

# Time to look for the effect of each item once; then those that do not show it are re-read for `confirm_timeout_s`.
CONFIRM_PER_ITEM_S = 0.1
CONFIRM_PAGE_ITEMS = 100
# Allowance for reads that only the source itself bounds.
SOURCE_READ_MARGIN_S = 60.0
CONFIRM_INTERVAL_S = 0.2
RECONCILE_TIMEOUT_S = 5.0
RECONCILE_CHECK_INTERVAL_S = 0.05
# If the last poll is older than this, no worker is polling the service.
MAX_POLL_AGE = timedelta(minutes=2)


def read_before(source: Source, row: CommandRow) -> dict[str, Any]:
    """State before the first request: counts from the last poll, a single job's state from the service."""
    with read() as session:
        state = session.get(ServiceState, row.service_id)
    found: dict[str, Any] = {"counts": _parse_counts(state)}
    if state is not None and state.instance_id is not None:
        found["instanceId"] = state.instance_id
    if row.total == 1 and ACTIONS[row.action].scope == "job":
        found["state"] = effects.read_job_state(source, _load_only_item(row.id).target)
    return found


def verify_and_finish(
    claim: Claim, source: Source, was: Mapping[str, Any], build_order: Callable[[ItemAttempt], Operation]
) -> None:
    """Look for the effect, wait for the next poll, describe what was observed, and end the command."""
    row = command_store.load_command(claim)
    is_confirmed = _confirm_items(claim, source, row, build_order)
    counts = _wait_for_reconciled_counts(row)
    took_s = _read_database_now() - (row.acted_at or 0.0)
    verified = is_confirmed and row.done > 0
    effect = _load_effect(row) if row.total == 1 else {}
    found = effects.observe_effect(source, row, took_s, is_confirmed=verified)
    after: dict[str, Any] = {"counts": counts, "done": row.done, "failed": row.failed, **effect}
    if found.state is not None:  # the state that was read overrides the one the service announced
        after["state"] = found.state
    said = effects.describe_effect(row, effect, found, took_s, verified=verified)
    command_store.finish_command(claim, _choose_final_phase(row), verified, was, after, said)


def _choose_final_phase(row: CommandRow) -> str:
    if row.failed == 0:
        return "success"
    return "timeout" if row.total == 1 and _load_only_state(row.id) == "timeout" else "error"


def max_duration_s(row: CommandRow) -> float:
    """Upper bound for the verification; a runner that takes longer hangs."""
    confirm_s = ACTIONS[row.action].confirm_timeout_s + CONFIRM_PER_ITEM_S * row.total
    return confirm_s + RECONCILE_TIMEOUT_S + effects.RETRY_FOLLOW_S + SOURCE_READ_MARGIN_S


def _confirm_items(
    claim: Claim, source: Source, row: CommandRow, build_order: Callable[[ItemAttempt], Operation]
) -> bool:
    """True if every done item shows its effect. Reads each item once, then re-reads those that do not show it yet."""
    timeout_s = ACTIONS[row.action].confirm_timeout_s
    left = _confirm_once(claim, source, build_order, time.monotonic() + timeout_s + CONFIRM_PER_ITEM_S * row.total)
    deadline = time.monotonic() + timeout_s
    while left and time.monotonic() < deadline:
        time.sleep(CONFIRM_INTERVAL_S)
        left = _confirm_once(claim, source, build_order, deadline)
    return not left


def _confirm_once(
    claim: Claim, source: Source, build_order: Callable[[ItemAttempt], Operation], deadline: float
) -> int:
    """Count the items that do not show their effect. Stores the others page by page. Raises `CommandLeaseLost`."""
    left, after = 0, -1
    while page := command_store.load_unconfirmed(claim, after, CONFIRM_PAGE_ITEMS):
        seen = [
            one.place for one in page if _is_effect_visible(claim, source, build_order(one), one.asked_at, deadline)
        ]
        if seen:
            command_store.mark_confirmed(claim, seen)
        left += len(page) - len(seen)
        after = page[-1].place
    return left


def _is_effect_visible(claim: Claim, source: Source, order: Operation, asked_at: datetime, deadline: float) -> bool:
    if time.monotonic() >= deadline:
        return False
    try:
        return source.verify_effect(order, asked_at)
    except SourceError:
        return False
    except Exception:  # a bug in the source: then the effect was not observed
        log.exception(
            "unexpected exception from source: call=shows service_id=%s command_id=%s target=%s",
            claim.service_id,
            claim.command_id,
            order.target,
        )
        return False


def _wait_for_reconciled_counts(row: CommandRow) -> dict[str, int] | None:
    """The counts of the first poll that began after the last answer; None if there is none in time.

    The event of that answer makes every worker's tail wake its poller, and one of them polls.
    """
    since = utc_text(datetime.fromtimestamp(row.acted_at or 0.0, UTC))
    deadline = time.monotonic() + RECONCILE_TIMEOUT_S
    while time.monotonic() < deadline:
        with read() as session:
            state = session.get(ServiceState, row.service_id)
        if state is None or state.last_poll_at is None or utc_now() - parse_utc(state.last_poll_at) > MAX_POLL_AGE:
            return None
        if state.heard_at is not None and state.heard_at >= since and not state.failing_since:
            return _parse_counts(state)
        time.sleep(RECONCILE_CHECK_INTERVAL_S)
    return None


def _parse_counts(state: ServiceState | None) -> dict[str, int] | None:
    if state is None or state.payload_json is None or state.failing_since:
        return None
    counts: dict[str, int] = json.loads(state.payload_json)["counts"]
    return counts or None


def _load_only_item(command_id: str) -> ItemRow:
    with read() as session:
        return session.scalars(sa.select(ItemRow).where(ItemRow.command_id == command_id)).one()


def _load_only_state(command_id: str) -> str:
    return _load_only_item(command_id).state


def _load_effect(row: CommandRow) -> dict[str, Any]:
    text = _load_only_item(row.id).effect_json
    effect: dict[str, Any] = json.loads(text) if text else {}
    return {name: value for name, value in effect.items() if name != "jobIds"}


def _read_database_now() -> float:
    with read() as session:
        return session.execute(sa.select(now_epoch())).scalar_one()

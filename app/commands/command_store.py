"""Stores the steps of a running command: each in one commit, under its claim, with its event."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import chain
from app.audit.models import AuditRow
from app.commands import affected_jobs, command_progress, rejections
from app.commands.actions import ACTIONS
from app.commands.leases import Claim
from app.commands.models import CommandRow, ItemRow
from app.db import now_epoch, read, write
from app.eventlog.append import append
from app.failures import failure_store
from app.infra.clock import parse_utc, utc_text
from app.reconciliation.loader import database_now
from app.sources.protocol import OperationResult

ItemState = Literal["unknown", "done", "refused", "absent", "failed", "timeout"]
UNSETTLED_STATES = ("running", "unknown")
_AUDIT_OUTCOMES: dict[str, Literal["success", "failure", "timeout"]] = {
    "success": "success",
    "error": "failure",
    "timeout": "timeout",
}


@dataclass(frozen=True, slots=True)
class ItemAttempt:
    """An item whose request is about to be sent; `asked_at` and `deadline` by the database's clock."""

    place: int
    target: str
    queue: str | None
    asked_at: datetime
    deadline: datetime


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The outcome of one item."""

    place: int
    state: ItemState
    detail: str
    effect: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, place: int, done: OperationResult) -> "ItemResult":
        return cls(place, done.outcome, done.detail, done.effect)


def load_command(claim: Claim) -> CommandRow:
    with read() as session:
        return session.get_one(CommandRow, claim.command_id)


def read_age_s(row: CommandRow) -> float:
    """Seconds since the command was submitted, by the database's clock: the hosts' clocks may differ."""
    with read() as session:
        return (database_now(session) - parse_utc(row.created_at)).total_seconds()


def record_before(claim: Claim, before: Mapping[str, Any]) -> None:
    """Store the state of the service before the first request."""
    with write() as session:
        row = claim.lock_command(session)
        row.before_json = json.dumps(before, ensure_ascii=False)


def load_unsettled(claim: Claim) -> list[ItemAttempt]:
    """Items whose request was sent and whose outcome is not known."""
    with read() as session:
        mine = sa.select(ItemRow).where(ItemRow.command_id == claim.command_id)
        rows = session.scalars(mine.where(ItemRow.state.in_(UNSETTLED_STATES)).order_by(ItemRow.place))
        return [_to_attempt(row) for row in rows]


def start_next_item(
    claim: Claim, result: ItemResult | None, call_s: float, lines: Sequence[str], *, publish: bool
) -> ItemAttempt | None:
    """Store `result` and mark the next item as sent, in one commit: the compare-and-set just before the call.

    None if no item is left. `call_s`: how long the call may still have an effect, even if this process dies.
    """
    with write() as session:
        row = claim.lock_command(session)
        if result is not None and not _write_result(session, row, result):
            lines = []
        attempt = _start_next(session, row, -1 if result is None else result.place, call_s)
        command_progress.append_log(row, lines)
        if attempt is not None and row.total == 1:
            command_progress.append_log(row, [f"asking {row.service_id}: {row.action} {attempt.target}"], "request")
        row.phase = "running"
        if publish or lines or attempt is None or row.total == 1:
            append(session, [command_progress.build_event(row)])
        return attempt


def mark_unknown(claim: Claim, result: ItemResult) -> float:
    """Mark an item's outcome as unknown. Returns the seconds until its call can no longer have an effect."""
    with write() as session:
        row = claim.lock_command(session)
        item = session.get_one(ItemRow, (row.id, result.place))
        item.state, item.detail = "unknown", result.detail
        left = (item.deadline or 0.0) - database_now(session).timestamp()
        row.phase = "unknown"
        command_progress.append_log(row, [result.detail])
        append(session, [command_progress.build_event(row)])
        return max(0.0, left)


def record_result(claim: Claim, result: ItemResult) -> None:
    """Store a result without starting another item. Idempotent."""
    with write() as session:
        row = claim.lock_command(session)
        if not _write_result(session, row, result):
            return
        row.phase = "running"
        command_progress.append_log(row, [result.detail])
        append(session, [command_progress.build_event(row)])


def has_waiting_items(claim: Claim) -> bool:
    """True if requests remain to be sent."""
    with read() as session:
        mine = sa.select(ItemRow.place).where(ItemRow.command_id == claim.command_id, ItemRow.state == "waiting")
        return session.scalar(mine.limit(1)) is not None


def load_unconfirmed(claim: Claim, after: int, limit: int) -> list[ItemAttempt]:
    """A page of done items whose effect was not observed yet, after the place `after`."""
    columns = (ItemRow.place, ItemRow.target, ItemRow.queue, ItemRow.asked_at, ItemRow.deadline)
    done = sa.select(*columns).where(ItemRow.command_id == claim.command_id, ItemRow.state == "done")
    left = done.where(ItemRow.confirmed.is_(None), ItemRow.place > after).order_by(ItemRow.place)
    with read() as session:
        return [_to_attempt(row) for row in session.execute(left.limit(limit))]


def mark_confirmed(claim: Claim, places: Sequence[int]) -> None:
    """Mark the items at these places as observed."""
    with write() as session:
        claim.lock_command(session)
        mine = sa.update(ItemRow).where(ItemRow.command_id == claim.command_id, ItemRow.place.in_(places))
        session.execute(mine.values(confirmed=True), execution_options={"synchronize_session": False})


def fail_remaining(claim: Claim, detail: str) -> None:
    """Fail every item that was not sent."""
    with write() as session:
        row = claim.lock_command(session)
        waiting = sa.update(ItemRow).where(ItemRow.command_id == row.id, ItemRow.state == "waiting")
        values = {"state": "failed", "detail": detail}
        session.execute(waiting.values(values), execution_options={"synchronize_session": False})
        row.failed = row.total - row.done
        command_progress.append_log(row, [detail])
        append(session, [command_progress.build_event(row)])


def finish_command(
    claim: Claim, phase: str, verified: bool, before: Mapping[str, Any], after: Mapping[str, Any], line: str
) -> None:
    """End the command in one commit: phase, release of its locks, audit entry and event."""
    with write() as session:
        row = claim.lock_command(session)
        row.phase, row.verified, row.ended_at = phase, verified, utc_text(database_now(session))
        row.after_json = json.dumps(after, ensure_ascii=False)
        command_progress.append_log(row, [line], "outcome")
        mine = sa.update(ItemRow).where(ItemRow.command_id == row.id).values(held=False)
        session.execute(mine, execution_options={"synchronize_session": False})
        action = ACTIONS.get(row.action)  # None if another version of Beacon had it
        if action is not None and action.requeues:
            done = sa.select(ItemRow.target).where(ItemRow.command_id == row.id, ItemRow.state == "done")
            failure_store.forget_facts(session, row.service_id, done)
        row.audit_id = chain.record(session, _build_audit_entry(session, row, before, after))
        append(session, [command_progress.build_event(row)])


def _build_audit_entry(
    session: Session, row: CommandRow, before: Mapping[str, Any], after: Mapping[str, Any]
) -> chain.Entry:
    """The client's address is copied from the entry of the submission: no request is served here."""
    accepted = sa.select(AuditRow.origin).where(AuditRow.id == row.accepted_audit_id)
    return chain.Entry(
        row.actor,
        row.action,
        rejections.format_audit_target(row.service_id, row.target),
        outcome=_AUDIT_OUTCOMES[row.phase],
        command_id=row.id,
        before=before,
        after=after,
        params={**json.loads(row.asked_json), **affected_jobs.list_affected_jobs(session, row)},
        logs=command_progress.parse_logs(row),
        origin=session.scalar(accepted),
    )


def _write_result(session: Session, row: CommandRow, result: ItemResult) -> bool:
    """True if this is the first result for the item; later results are ignored."""
    item = session.get_one(ItemRow, (row.id, result.place))
    if item.state not in UNSETTLED_STATES:
        return False
    item.state, item.detail = result.state, result.detail[:1_000]
    if result.effect:
        item.effect_json = json.dumps(dict(result.effect), ensure_ascii=False, default=str)
    row.acted_at = session.execute(sa.select(now_epoch())).scalar_one()
    if result.state == "done":
        row.done += 1
    else:
        row.failed += 1
    session.flush()
    return True


def _start_next(session: Session, row: CommandRow, after: int, call_s: float) -> ItemAttempt | None:
    waiting = sa.select(ItemRow).where(ItemRow.command_id == row.id, ItemRow.state == "waiting")
    item = session.scalar(waiting.where(ItemRow.place > after).order_by(ItemRow.place).limit(1))
    if item is None:
        return None
    now = session.execute(sa.select(now_epoch())).scalar_one()
    item.state, item.asked_at, item.deadline = "running", now, now + call_s
    session.flush()
    return _to_attempt(item)


def _to_attempt(row: ItemRow | sa.Row[int, str, str | None, float | None, float | None]) -> ItemAttempt:
    asked_at, deadline = (datetime.fromtimestamp(at or 0.0, UTC) for at in (row.asked_at, row.deadline))
    return ItemAttempt(row.place, row.target, row.queue, asked_at, deadline)

"""The steps of a command that are remembered, each in one commit under its claim, with its event."""

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
from app.commands.leases import Claim
from app.commands.models import CommandRow, ItemRow
from app.db import now_epoch, read, write
from app.eventlog.append import append
from app.infra.clock import parse_utc, utc_text
from app.reconciliation.loader import database_now
from app.sources.protocol import OperationResult

State = Literal["unknown", "done", "refused", "absent", "failed", "timeout"]
UNSETTLED = ("running", "unknown")
_OUTCOMES: dict[str, Literal["success", "failure", "timeout"]] = {
    "success": "success",
    "error": "failure",
    "timeout": "timeout",
}


@dataclass(frozen=True, slots=True)
class Asking:
    """The next thing to ask for; `asked_at` and `deadline` in the database's time."""

    place: int
    target: str
    queue: str | None
    asked_at: datetime
    deadline: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it."""

    place: int
    state: State
    detail: str
    effect: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, place: int, done: OperationResult) -> "Answer":
        return cls(place, done.outcome, done.detail, done.effect)


def load(claim: Claim) -> CommandRow:
    with read() as session:
        return session.get_one(CommandRow, claim.command_id)


def age(row: CommandRow) -> float:
    """For how many seconds it is known: by the database's clock, as whoever runs it may have another one."""
    with read() as session:
        return (database_now(session) - parse_utc(row.created_at)).total_seconds()


def begin(claim: Claim, before: Mapping[str, Any]) -> None:
    """Remember how things were before anything is asked."""
    with write() as session:
        row = claim.guard(session)
        row.before_json = json.dumps(before, ensure_ascii=False)


def unsettled(claim: Claim) -> list[Asking]:
    """What was asked and is not known to have been answered."""
    with read() as session:
        mine = sa.select(ItemRow).where(ItemRow.command_id == claim.command_id)
        rows = session.scalars(mine.where(ItemRow.state.in_(UNSETTLED)).order_by(ItemRow.place))
        return [_asking(row) for row in rows]


def step(claim: Claim, answer: Answer | None, call_s: float, lines: Sequence[str], *, tell: bool) -> Asking | None:
    """Remember `answer` and what is asked next, in one commit: the compare-and-set just before the call.

    None at the end. `call_s`: for so long the asking may still change something, whatever becomes of this process.
    """
    with write() as session:
        row = claim.guard(session)
        if answer is not None and not _write(session, row, answer):
            lines = []
        asking = _next(session, row, -1 if answer is None else answer.place, call_s)
        command_progress.log(row, lines)
        if asking is not None and row.total == 1:
            command_progress.log(row, [f"asking {row.service_id}: {row.action} {asking.target}"])
        row.phase = "running"
        if tell or lines or asking is None or row.total == 1:
            append(session, [command_progress.event(row)])
        return asking


def unknown(claim: Claim, answer: Answer) -> float:
    """Nobody knows whether it was done; the seconds until it can no longer be done."""
    with write() as session:
        row = claim.guard(session)
        item = session.get_one(ItemRow, (row.id, answer.place))
        item.state, item.detail = "unknown", answer.detail
        left = (item.deadline or 0.0) - database_now(session).timestamp()
        row.phase = "unknown"
        command_progress.log(row, [answer.detail])
        append(session, [command_progress.event(row)])
        return max(0.0, left)


def record(claim: Claim, answer: Answer) -> None:
    """Remember an answer by itself; once, however often it is told."""
    with write() as session:
        row = claim.guard(session)
        if not _write(session, row, answer):
            return
        row.phase = "running"
        command_progress.log(row, [answer.detail])
        append(session, [command_progress.event(row)])


def is_left(claim: Claim) -> bool:
    """Whether anything waits to be asked."""
    with read() as session:
        mine = sa.select(ItemRow.place).where(ItemRow.command_id == claim.command_id, ItemRow.state == "waiting")
        return session.scalar(mine.limit(1)) is not None


def unconfirmed(claim: Claim, after: int, limit: int) -> list[Asking]:
    """What was done, and was not seen yet by reading: a page of it, behind that place."""
    columns = (ItemRow.place, ItemRow.target, ItemRow.queue, ItemRow.asked_at, ItemRow.deadline)
    done = sa.select(*columns).where(ItemRow.command_id == claim.command_id, ItemRow.state == "done")
    left = done.where(ItemRow.confirmed.is_(None), ItemRow.place > after).order_by(ItemRow.place)
    with read() as session:
        return [_asking(row) for row in session.execute(left.limit(limit))]


def confirm(claim: Claim, places: Sequence[int]) -> None:
    """A page of them."""
    with write() as session:
        claim.guard(session)
        mine = sa.update(ItemRow).where(ItemRow.command_id == claim.command_id, ItemRow.place.in_(places))
        session.execute(mine.values(confirmed=True), execution_options={"synchronize_session": False})


def give_up(claim: Claim, detail: str) -> None:
    """Nothing more is asked: whatever waits has failed."""
    with write() as session:
        row = claim.guard(session)
        waiting = sa.update(ItemRow).where(ItemRow.command_id == row.id, ItemRow.state == "waiting")
        values = {"state": "failed", "detail": detail}
        session.execute(waiting.values(values), execution_options={"synchronize_session": False})
        row.failed = row.total - row.done
        command_progress.log(row, [detail])
        append(session, [command_progress.event(row)])


def finish(
    claim: Claim, phase: str, verified: bool, before: Mapping[str, Any], after: Mapping[str, Any], line: str
) -> None:
    """The end: phase, release of everything held, audit and event in one commit."""
    with write() as session:
        row = claim.guard(session)
        row.phase, row.verified, row.ended_at = phase, verified, utc_text(database_now(session))
        row.after_json = json.dumps(after, ensure_ascii=False)
        command_progress.log(row, [line])
        mine = sa.update(ItemRow).where(ItemRow.command_id == row.id).values(held=False)
        session.execute(mine, execution_options={"synchronize_session": False})
        row.audit_id = chain.record(session, _result(session, row, before, after))
        append(session, [command_progress.event(row)])


def _result(session: Session, row: CommandRow, before: Mapping[str, Any], after: Mapping[str, Any]) -> chain.Entry:
    """From where it came is known of its being taken on alone: no request is served here."""
    accepted = sa.select(AuditRow.origin).where(AuditRow.id == row.accepted_audit_id)
    return chain.Entry(
        row.actor,
        row.action,
        rejections.audit_target(row.service_id, row.target),
        outcome=_OUTCOMES[row.phase],
        command_id=row.id,
        before=before,
        after=after,
        params={**json.loads(row.asked_json), **affected_jobs.named(session, row)},
        logs=command_progress.logs_of(row),
        origin=session.scalar(accepted),
    )


def _write(session: Session, row: CommandRow, answer: Answer) -> bool:
    """Whether it was not remembered already: of what waits for no answer another one counts nothing."""
    item = session.get_one(ItemRow, (row.id, answer.place))
    if item.state not in UNSETTLED:
        return False
    item.state, item.detail = answer.state, answer.detail[:1_000]
    if answer.effect:
        item.effect_json = json.dumps(dict(answer.effect), ensure_ascii=False, default=str)
    row.acted_at = session.execute(sa.select(now_epoch())).scalar_one()
    if answer.state == "done":
        row.done += 1
    else:
        row.failed += 1
    session.flush()
    return True


def _next(session: Session, row: CommandRow, after: int, call_s: float) -> Asking | None:
    waiting = sa.select(ItemRow).where(ItemRow.command_id == row.id, ItemRow.state == "waiting")
    item = session.scalar(waiting.where(ItemRow.place > after).order_by(ItemRow.place).limit(1))
    if item is None:
        return None
    now = session.execute(sa.select(now_epoch())).scalar_one()
    item.state, item.asked_at, item.deadline = "running", now, now + call_s
    session.flush()
    return _asking(item)


def _asking(row: ItemRow | sa.Row[int, str, str | None, float | None, float | None]) -> Asking:
    asked_at, deadline = (datetime.fromtimestamp(at or 0.0, UTC) for at in (row.asked_at, row.deadline))
    return Asking(row.place, row.target, row.queue, asked_at, deadline)

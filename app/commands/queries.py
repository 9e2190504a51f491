"""What pages and callers may read of commands."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.commands import command_progress
from app.commands.models import CommandRow, ItemRow

RESULTS = 1_000


@dataclass(frozen=True, slots=True)
class Filter:
    """Which commands; all parts must fit. `q`: somewhere in what was asked for, by whom, or in its logs."""

    phase: str | None = None
    action: str | None = None
    service: str | None = None
    actor: str | None = None
    target: str | None = None
    q: str | None = None


def page(
    session: Session, wanted: Filter, before: tuple[str, str] | None, limit: int
) -> tuple[Sequence[CommandRow], tuple[str, str] | None]:
    """The newest commands below the key of the last one seen, and the key to go on from."""
    query = sa.select(CommandRow)
    parts = {
        CommandRow.phase: wanted.phase,
        CommandRow.action: wanted.action,
        CommandRow.service_id: wanted.service,
        CommandRow.actor: wanted.actor,
        CommandRow.target: wanted.target,
    }
    query = query.where(*(column == value for column, value in parts.items() if value is not None))
    if wanted.q is not None:
        texts = (CommandRow.asked_json, CommandRow.target, CommandRow.actor, CommandRow.logs_json)
        query = query.where(sa.or_(*(text.icontains(wanted.q, autoescape=True) for text in texts)))
    if before is not None:
        query = query.where(sa.tuple_(CommandRow.created_at, CommandRow.id) < before)
    newest = query.order_by(CommandRow.created_at.desc(), CommandRow.id.desc()).limit(limit + 1)
    rows = session.scalars(newest).all()
    more = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], (more.created_at, more.id) if more is not None else None


def find(session: Session, command_id: str) -> CommandRow | None:
    return session.get(CommandRow, command_id)


def results(session: Session, command_id: str, after: int = -1, limit: int = RESULTS) -> Sequence[ItemRow]:
    mine = sa.select(ItemRow).where(ItemRow.command_id == command_id, ItemRow.place > after)
    return session.scalars(mine.order_by(ItemRow.place).limit(limit)).all()


def summary(row: CommandRow) -> dict[str, Any]:
    """A command as lists show it. Until it has ended `auditId` names the entry of its being taken on."""
    return {
        "commandId": row.id,
        "actionType": row.action,
        "service": row.service_id,
        "target": row.target,
        "actor": row.actor,
        "phase": row.phase,
        "verified": row.verified,
        "progress": {"total": row.total, "done": row.done, "failed": row.failed},
        "createdAt": row.created_at,
        "startedAt": row.started_at,
        "endedAt": row.ended_at,
        "auditId": row.audit_id or row.accepted_audit_id,
    }


def full(row: CommandRow, items: Sequence[ItemRow]) -> dict[str, Any]:
    """One command with its logs and results; `resultsNext` is where they go on."""
    asked = json.loads(row.asked_json)
    return {
        **summary(row),
        "logs": command_progress.logs_of(row),
        "results": [_result(item) for item in items],
        "resultsNext": items[-1].place if len(items) == RESULTS else None,
        "before": json.loads(row.before_json) if row.before_json else None,
        "after": json.loads(row.after_json) if row.after_json else None,
        "params": asked.get("params"),
        "expectedCount": asked.get("expectedCount"),
        "asOf": asked.get("asOf"),
    }


def _result(item: ItemRow) -> dict[str, Any]:
    return {"target": item.target, "outcome": item.state, "detail": item.detail, "confirmed": item.confirmed}

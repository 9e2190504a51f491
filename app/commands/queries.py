"""Reads commands for pages and API clients."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.commands import command_progress
from app.commands.models import CommandRow, ItemRow

RESULTS_PER_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class CommandFilter:
    """Every given field must match. `q` is searched for in the request, the target, the actor and the logs."""

    phase: str | None = None
    action: str | None = None
    service: str | None = None
    actor: str | None = None
    target: str | None = None
    q: str | None = None


def load_page(
    session: Session, wanted: CommandFilter, before: tuple[str, str] | None, limit: int
) -> tuple[Sequence[CommandRow], tuple[str, str] | None]:
    """A page of commands, newest first, older than the key `before`, and the key of the next page."""
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


def find_command(session: Session, command_id: str) -> CommandRow | None:
    return session.get(CommandRow, command_id)


def load_results(
    session: Session, command_id: str, after: int = -1, limit: int = RESULTS_PER_PAGE
) -> Sequence[ItemRow]:
    mine = sa.select(ItemRow).where(ItemRow.command_id == command_id, ItemRow.place > after)
    return session.scalars(mine.order_by(ItemRow.place).limit(limit)).all()


def summary_to_json(row: CommandRow) -> dict[str, Any]:
    """A command as in lists. Until it ends, `auditId` is the entry of its acceptance."""
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


def command_to_json(row: CommandRow, items: Sequence[ItemRow]) -> dict[str, Any]:
    """One command with its logs and results; `resultsNext` is where the next page starts."""
    asked = json.loads(row.asked_json)
    return {
        **summary_to_json(row),
        "logs": command_progress.parse_logs(row),
        "results": [_item_to_json(item) for item in items],
        "resultsNext": items[-1].place if len(items) == RESULTS_PER_PAGE else None,
        "before": json.loads(row.before_json) if row.before_json else None,
        "after": json.loads(row.after_json) if row.after_json else None,
        "params": asked.get("params"),
        "expectedCount": asked.get("expectedCount"),
        "asOf": asked.get("asOf"),
    }


def _item_to_json(item: ItemRow) -> dict[str, Any]:
    return {"target": item.target, "outcome": item.state, "detail": item.detail, "confirmed": item.confirmed}

"""Which jobs a command was about, for its entry in the audit: its words name a filter or a queue, and no job."""

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.commands.models import CommandRow, ItemRow

# The entry is read whole, by people too.
MOST_NAMED = 1_000


def named(session: Session, row: CommandRow) -> dict[str, Any]:
    """`jobIds`, and of how many where there are more; nothing where what was asked for names them all."""
    asked = json.loads(row.asked_json)
    if row.action == "purge-queue":
        return _purged(session, row)
    if asked.get("filter") is None:
        return {}
    first = sa.select(ItemRow.target).where(ItemRow.command_id == row.id).order_by(ItemRow.place).limit(MOST_NAMED)
    return _told(list(session.scalars(first)), row.total)


def _purged(session: Session, row: CommandRow) -> dict[str, Any]:
    """As far as the service named what it removed."""
    text = session.scalar(sa.select(ItemRow.effect_json).where(ItemRow.command_id == row.id))
    effect = json.loads(text) if text else {}
    ids = effect.get("jobIds")
    if not isinstance(ids, list) or not ids:
        return {}
    purged = effect.get("purged")
    return _told(ids, max(len(ids), purged) if isinstance(purged, int) else len(ids))


def _told(ids: list[Any], total: int) -> dict[str, Any]:
    kept = [str(each) for each in ids[:MOST_NAMED]]
    return {"jobIds": kept, **({"jobIdsOf": total} if total > len(kept) else {})}

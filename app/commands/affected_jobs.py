"""Lists the jobs a command affected for its audit entry, which otherwise names only a filter or a queue."""

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.commands.models import CommandRow, ItemRow

# An audit entry is displayed in full, so it must stay readable.
MAX_LISTED_JOBS = 1_000


def list_affected_jobs(session: Session, row: CommandRow) -> dict[str, Any]:
    """`jobIds`, with `jobIdsOf` if there are more; empty if the request itself names every job."""
    if json.loads(row.asked_json).get("filter") is None:
        return _list_purged_jobs(session, row) if row.total == 1 else {}
    first = sa.select(ItemRow.target).where(ItemRow.command_id == row.id).order_by(ItemRow.place).limit(MAX_LISTED_JOBS)
    return _truncate_ids(list(session.scalars(first)), row.total)


def _list_purged_jobs(session: Session, row: CommandRow) -> dict[str, Any]:
    """The removed jobs, if the service named them."""
    text = session.scalar(sa.select(ItemRow.effect_json).where(ItemRow.command_id == row.id))
    effect = json.loads(text) if text else {}
    ids = effect.get("jobIds")
    if not isinstance(ids, list) or not ids:
        return {}
    purged = effect.get("purged")
    return _truncate_ids(ids, max(len(ids), purged) if isinstance(purged, int) else len(ids))


def _truncate_ids(ids: list[Any], total: int) -> dict[str, Any]:
    listed = [str(each) for each in ids[:MAX_LISTED_JOBS]]
    return {"jobIds": listed, **({"jobIdsOf": total} if total > len(listed) else {})}

"""Which jobs are gone because a command removed them: for reconciliation, they are not missing."""

import json
from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.commands.models import ItemRow
from app.reconciliation.explanations import EVENT_SLACK
from app.reconciliation.models import KnownJob

IDS_AT_ONCE = 500
# Asked and perhaps done already: the answer, or the reading, may come after the look that no longer shows the job.
_MAY_HAVE = ("done", "running", "unknown", "timeout")


class RemovedByCommands:
    """Fits `app.reconciliation.explanations.Explainer`, and `BulkRemovalExplainer`."""

    def find_ended(self, session: Session, service_id: str, job_ids: Collection[str], since: datetime) -> set[str]:
        columns = (ItemRow.service_id, ItemRow.action, ItemRow.target, ItemRow.effect_json)
        items = sa.select(*columns).where(*_asked(service_id, since, "delete-job", "purge-queue"))
        found: set[str] = set()
        for item in session.execute(items).all():
            found |= {item.target} if item.action == "delete-job" else _purged(session, item, job_ids)
        return found.intersection(job_ids)

    def has_removed_many(self, session: Session, service_id: str, since: datetime) -> bool:
        """A restart counts as well: what a service keeps in its memory goes with it."""
        asked = _asked(service_id, since, "purge-queue", "restart-service")
        return session.scalar(sa.select(ItemRow.command_id).where(*asked).limit(1)) is not None


def _asked(service_id: str, since: datetime, *actions: str) -> list[sa.ColumnElement[bool]]:
    return [
        ItemRow.service_id == service_id,
        ItemRow.asked_at >= (since - EVENT_SLACK).timestamp(),
        ItemRow.action.in_(actions),
        ItemRow.state.in_(_MAY_HAVE),
    ]


def _purged(session: Session, item: sa.Row[str, str, str, str | None], job_ids: Collection[str]) -> set[str]:
    """The ids that the service named; else every job that was known to wait in that queue."""
    named = json.loads(item.effect_json).get("jobIds") if item.effect_json else None
    if isinstance(named, list):
        return set(named)
    ids, found = list(job_ids), set[str]()
    for start in range(0, len(ids), IDS_AT_ONCE):
        some = KnownJob.job_id.in_(ids[start : start + IDS_AT_ONCE])
        mine = sa.select(KnownJob.job_id).where(KnownJob.service_id == item.service_id, some)
        found.update(session.scalars(mine.where(KnownJob.queue == item.target, KnownJob.state != "running")))
    return found

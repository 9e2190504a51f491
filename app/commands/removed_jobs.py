"""Tells reconciliation which jobs a command removed: these are not missing."""

import json
from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.commands.actions import ACTIONS, Scope
from app.commands.models import ItemRow
from app.reconciliation.explanations import EVENT_SLACK
from app.reconciliation.models import KnownJob

IDS_PER_QUERY = 500
# The request may have taken effect: its result may be recorded after the poll that no longer shows the job.
_POSSIBLY_DONE_STATES = ("done", "running", "unknown", "timeout")


class CommandExplanations:
    """Implements `app.reconciliation.explanations.Explainer` and `BulkRemovalExplainer`."""

    def find_ended(self, session: Session, service_id: str, job_ids: Collection[str], since: datetime) -> set[str]:
        columns = (ItemRow.service_id, ItemRow.action, ItemRow.target, ItemRow.effect_json)
        items = sa.select(*columns).where(*_items_asked_since(service_id, since, "job", "queue"))
        found: set[str] = set()
        for item in session.execute(items).all():
            found |= {item.target} if ACTIONS[item.action].scope == "job" else _find_purged_jobs(session, item, job_ids)
        return found.intersection(job_ids)

    def has_removed_many(self, session: Session, service_id: str, since: datetime) -> bool:
        """Includes restarts: a service loses what it keeps in memory."""
        asked = _items_asked_since(service_id, since, "queue", "service")
        return session.scalar(sa.select(ItemRow.command_id).where(*asked).limit(1)) is not None


def _items_asked_since(service_id: str, since: datetime, *scopes: Scope) -> list[sa.ColumnElement[bool]]:
    names = [action.name for action in ACTIONS.values() if action.is_destructive and action.scope in scopes]
    return [
        ItemRow.service_id == service_id,
        ItemRow.asked_at >= (since - EVENT_SLACK).timestamp(),
        ItemRow.action.in_(names),
        ItemRow.state.in_(_POSSIBLY_DONE_STATES),
    ]


def _find_purged_jobs(session: Session, item: sa.Row[str, str, str, str | None], job_ids: Collection[str]) -> set[str]:
    """The ids that the service named, or else every job that was known to wait in the queue."""
    named = json.loads(item.effect_json).get("jobIds") if item.effect_json else None
    if isinstance(named, list):
        return set(named)
    ids, found = list(job_ids), set[str]()
    for start in range(0, len(ids), IDS_PER_QUERY):
        some = KnownJob.job_id.in_(ids[start : start + IDS_PER_QUERY])
        mine = sa.select(KnownJob.job_id).where(KnownJob.service_id == item.service_id, some)
        found.update(session.scalars(mine.where(KnownJob.queue == item.target, KnownJob.state != "running")))
    return found

"""Identifies open items as an operator saw them, and explains why some were not accepted."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.reconciliation import finding_text
from app.reconciliation.models import OpenItem

_CLOSING_TEXT = {
    "reappeared": "the service shows it again",
    "finished": "it had finished",
    "requeued": "it was queued again",
    "accepted": "accepted",
    "expired": "closed automatically after a day",
}


@dataclass(frozen=True, slots=True)
class UnacceptedJob:
    """A job that was selected and not accepted, and `why`."""

    job_id: str
    why: str
    is_open: bool = False


def item_digest(job_id: str, kind: str, since: str) -> str:
    """A short hash of an item. An item that was closed and opened again, or of another kind, has another one."""
    return hashlib.sha256(json.dumps([job_id, kind, since]).encode()).hexdigest()[:12]


def find_unaccepted(
    session: Session, service_id: str, chosen: Collection[str], closed: Collection[str]
) -> Sequence[UnacceptedJob]:
    """The `chosen` jobs that are not among the `closed`, each with the reason, by id.

    Call it after the items whose digests matched have been closed.
    """
    mine = sa.select(OpenItem).where(OpenItem.service_id == service_id, OpenItem.job_id.in_(chosen))
    still = session.scalars(mine.where(OpenItem.closed_at.is_(None))).all()
    left = {item.job_id: UnacceptedJob(item.job_id, _open_text(item), is_open=True) for item in still}
    rest = set(chosen) - set(closed) - set(left)
    if rest:
        past = mine.where(OpenItem.job_id.in_(rest), OpenItem.closed_at.is_not(None)).order_by(OpenItem.closed_at)
        ended = {item.job_id: _closed_text(item) for item in session.scalars(past)}
        left |= {job_id: UnacceptedJob(job_id, ended.get(job_id, "it is not open")) for job_id in rest}
    return [left[job_id] for job_id in sorted(left)]


def _open_text(item: OpenItem) -> str:
    return f"{finding_text.kind_label(item.kind)} since {_format_time(item.since)}, which is not what you saw"


def _closed_text(item: OpenItem) -> str:
    by = f" by {item.closed_by}" if item.closed_by and item.closed_how == "accepted" else ""
    return f"{_CLOSING_TEXT[item.closed_how or 'expired']}{by} at {_format_time(item.closed_at or '')}"


def _format_time(at: str) -> str:
    return f"{at[11:19]} UTC on {at[:10]}"

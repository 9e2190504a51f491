"""The rows of a verdict, written inside somebody's transaction: state, known jobs, items, samples, record."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.clock import utc_text
from app.eventlog.append import NewEvent
from app.eventlog.payloads import ReconciliationUpdate
from app.reconciliation.findings import bounded_ids
from app.reconciliation.models import CheckSample, DiscrepancyEvent, KnownJob, OpenItem, Service, ServiceState
from app.reconciliation.state import Belief, Closing, Heard, Item, Known, Verdict, slices
from app.sources.base import Look, Worker

ROWS = 500  # in one statement
MAX_WORKERS = 500
_WORKER_ORDER = {"dead": 0, "busy": 1, "suspended": 2, "idle": 3}
# Rows written in bulk are never looked at again through the session that wrote them.
_UNSYNCED = {"synchronize_session": False}

Breathe = Callable[[], None]


class Outdated(Exception):
    """The belief changed since it was read: judge again. Nothing was written."""


class NotWatched(Exception):
    """The service was removed meanwhile. Nothing was written."""


def canonical(counts: Mapping[str, int]) -> str:
    return json.dumps(dict(counts), sort_keys=True, separators=(",", ":"))


def checksum(counts: Mapping[str, int]) -> str:
    """SHA-256 of the counts as canonical JSON: equal numbers, equal text, whoever computes it."""
    return hashlib.sha256(canonical(counts).encode()).hexdigest()


def locked_state(session: Session, service_id: str, version: int | None = None) -> ServiceState:
    """The service's state row, locked to the end of the transaction; made where there is none.

    Raises `NotWatched`, and `Outdated` where it is not at `version`.
    """
    watched = sa.select(Service.id).where(Service.id == service_id, Service.removed_at.is_(None))
    if session.scalar(watched) is None:
        raise NotWatched(service_id)
    row = session.get(ServiceState, service_id, with_for_update=True)
    if row is None:
        row = ServiceState(service_id=service_id, version=0, counts_only=False)
        session.add(row)
        session.flush()
    if version is not None and row.version != version:
        raise Outdated(service_id)
    return row


def write_belief(session: Session, row: ServiceState, belief: Belief, heard: Heard, breathe: Breathe) -> None:
    """The differences of the known set, and of which moment of the service it is."""
    gone_or_put = [*belief.gone, *(job.id for job in belief.put)]
    for ids in slices(gone_or_put, ROWS):
        mine = KnownJob.service_id == row.service_id
        session.execute(sa.delete(KnownJob).where(mine, KnownJob.job_id.in_(ids)), execution_options=_UNSYNCED)
        breathe()
    for jobs in slices(belief.put, ROWS):
        rows = [
            {
                "service_id": row.service_id,
                "job_id": job.id,
                "state": job.state,
                "queue": job.queue,
                "attempt": job.attempt,
                "seen_at": _text(belief.unseen.get(job.id)),
            }
            for job in jobs
        ]
        session.execute(sa.insert(KnownJob), rows)
        breathe()
    row.heard_at = utc_text(heard.began)
    row.instance_id, row.revision = heard.look.instance_id, heard.look.revision
    row.as_of = _text(heard.look.as_of)
    row.counts_only = not (heard.unfinished_complete and heard.finished_complete)


def write_items(session: Session, service_id: str, opened: Iterable[Item]) -> None:
    rows = [
        {
            "id": uuid.uuid4().hex,
            "service_id": service_id,
            "job_id": item.job_id,
            "kind": item.kind,
            "since": utc_text(item.since),
            "last_state": item.last_state,
            "queue": item.queue,
        }
        for item in opened
    ]
    if rows:
        session.execute(sa.insert(OpenItem), rows)


def close_items(
    session: Session,
    service_id: str,
    closed: Iterable[Closing],
    at: datetime,
    by: str | None = None,
    reason: str | None = None,
) -> None:
    rows = [
        {
            "job": done.item.job_id,
            "item_kind": done.item.kind,
            "how": done.how,
            "at": utc_text(at),
            "by": by,
            "why": reason,
        }
        for done in closed
    ]
    if not rows:
        return
    statement = (
        sa.update(OpenItem)
        .where(
            OpenItem.service_id == service_id,
            OpenItem.job_id == sa.bindparam("job"),
            OpenItem.kind == sa.bindparam("item_kind"),
            OpenItem.closed_at.is_(None),
        )
        .values(
            closed_at=sa.bindparam("at"),
            closed_how=sa.bindparam("how"),
            closed_by=sa.bindparam("by"),
            close_reason=sa.bindparam("why"),
        )
    )
    session.connection().execute(statement, rows)


def write_sample(session: Session, service_id: str, verdict: Verdict, status: str | None, *, ok: bool) -> None:
    """The figures of one poll. `status` is the service's after it, which a first failure does not change."""
    session.add(
        CheckSample(
            service_id=service_id,
            at=utc_text(verdict.checked_at),
            ok=ok,
            status=status,
            latency_ms=verdict.latency_ms,
            counts_json=canonical(verdict.counts),
        )
    )


def tell(session: Session, row: ServiceState, known: Known, verdict: Verdict) -> NewEvent:
    """The row of a change of state, if it is one, and the event to append last in the transaction.

    Both carry the same id. The record keeps every missing id, the event as many as fit into it.
    """
    event_id = uuid.uuid4().hex
    told = _payload(row.service_id, known, verdict, event_id)
    if verdict.turned:
        details = verdict.details.wire() if verdict.details else None
        session.add(
            DiscrepancyEvent(
                id=event_id,
                timestamp=utc_text(verdict.at),
                service=row.service_id,
                status=verdict.status,
                counts_json=canonical(verdict.counts),
                checksum=told.checksum,
                latency_ms=verdict.latency_ms,
                discrepancy_details_json=json.dumps(details, ensure_ascii=False) if details else None,
            )
        )
    row.status = verdict.status
    row.payload_json = json.dumps(told.wire(), ensure_ascii=False)
    return NewEvent("reconciliation.update", told)


def note_answer(row: ServiceState, verdict: Verdict, look: Look) -> None:
    """The times of a check that was answered, and what it said of the service itself."""
    row.checked_at = row.last_poll_at = row.last_answer_at = utc_text(verdict.checked_at)
    row.last_verified_at = _text(verdict.last_verified_at)
    row.latency_ms = verdict.latency_ms
    row.failing_since = row.waited_ms = None
    row.reason = verdict.reason
    row.health, row.workers_json = look.health, workers_text(look.workers)


def workers_text(workers: Sequence[Worker] | None) -> str | None:
    """For the page of the service: at most `MAX_WORKERS`, those that need a look first."""
    if workers is None:
        return None
    shown = sorted(workers, key=lambda worker: (_WORKER_ORDER[worker.state], worker.id))[:MAX_WORKERS]
    return json.dumps([worker._asdict() | {"seen_at": _text(worker.seen_at)} for worker in shown], ensure_ascii=False)


def _payload(service_id: str, known: Known, verdict: Verdict, event_id: str) -> ReconciliationUpdate:
    details = verdict.details
    if details is not None:
        details = details.model_copy(update={"missing_job_ids": bounded_ids(details.missing_job_ids)})
    return ReconciliationUpdate(
        event_id=event_id,
        service=service_id,
        status=verdict.status,
        counts=dict(verdict.counts),
        checksum=checksum(verdict.counts),
        latency_ms=verdict.latency_ms,
        checked_at=verdict.checked_at,
        discrepancy_details=details,
        findings=list(verdict.findings) or None,
        last_verified_at=verdict.last_verified_at,
        last_discrepancy=verdict.last_discrepancy,
        previous_status=known.told.status if known.told else None,
        reason=verdict.reason,
    )


def _text(at: datetime | None) -> str | None:
    return None if at is None else utc_text(at)

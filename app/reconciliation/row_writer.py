"""The rows of a verdict, written inside somebody's transaction: state, known jobs, items, samples, record."""

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.eventlog.append import NewEvent
from app.eventlog.event_types import ReconciliationUpdate
from app.infra.clock import utc_text
from app.reconciliation import flapping
from app.reconciliation.findings import bounded_ids
from app.reconciliation.incident_continuation import episode_of
from app.reconciliation.models import CheckSample, DiscrepancyEvent, KnownJob, OpenItem, Service, ServiceState
from app.reconciliation.types import Belief, Closing, Heard, Item, Known, Verdict, slices
from app.sources.protocol import Job, Look, Worker

# In one statement, and where there are more of them in one transaction: some milliseconds on the event loop, which
# nobody else may use meanwhile, because whoever wrote would wait for this very transaction.
ROWS = 500
ITEMS = 150  # each has its place in five indexes
MAX_WORKERS = 500
_WORKER_ORDER = {"dead": 0, "silent": 1, "busy": 2, "suspended": 3, "idle": 4}
# Rows written in bulk are never looked at again through the session that wrote them.
_job, _item = cast(sa.Table, KnownJob.__table__), cast(sa.Table, OpenItem.__table__)
_sample = cast(sa.Table, CheckSample.__table__)
_FORGET = sa.delete(_job).where(
    _job.c.service_id == sa.bindparam("service"), _job.c.job_id.in_(sa.bindparam("ids", expanding=True))
)


def _put(dialect: Any) -> sa.Executable:
    """Over the row that is there, which takes half of what it takes to delete and to insert it."""
    insert = dialect.insert(_job)
    values = {column.name: insert.excluded[column.name] for column in _job.c if not column.primary_key}
    return cast(sa.Executable, insert.on_conflict_do_update(index_elements=_job.primary_key.columns, set_=values))


_PUT = {dialect.dialect.name: _put(dialect) for dialect in (sqlite, postgresql)}


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


def forget_jobs(session: Session, service_id: str, job_ids: Iterable[str]) -> None:
    connection = session.connection()
    for ids in slices(job_ids, ROWS):
        connection.execute(_FORGET, {"service": service_id, "ids": ids})


def put_jobs(session: Session, service_id: str, belief: Belief, jobs: Iterable[Job]) -> None:
    connection = session.connection()
    for part in slices(jobs, ROWS):
        rows = [
            {
                "service_id": service_id,
                "job_id": job.id,
                "state": job.state,
                "queue": job.queue,
                "attempt": job.attempt,
                "kept_s": job.kept_s,
                "seen_at": _text(belief.unseen.get(job.id)),
                "ended_id": belief.ended.get(job.id),
            }
            for job in part
        ]
        connection.execute(_PUT[connection.dialect.name], rows)


def note_moment(row: ServiceState, heard: Heard) -> None:
    """Of which moment of the service the known jobs are."""
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
        session.connection().execute(sa.insert(_item), rows)


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
    write_samples(session, [sample(service_id, verdict, status, ok=ok)])


def write_samples(session: Session, samples: Sequence[Mapping[str, Any]]) -> None:
    session.connection().execute(sa.insert(_sample), samples)


def sample(service_id: str, verdict: Verdict, status: str | None, *, ok: bool) -> dict[str, Any]:
    """The figures of one poll. `status` is the service's after it, which a first failure does not change."""
    return {
        "service_id": service_id,
        "at": utc_text(verdict.checked_at),
        "ok": ok,
        "status": status,
        "latency_ms": verdict.latency_ms,
        "counts_json": canonical(verdict.counts),
    }


def tell(session: Session, row: ServiceState, known: Known, verdict: Verdict) -> NewEvent:
    """The row of a change of state, if it is one, and the event to append last in the transaction.

    Both carry the same id. The record keeps every missing id, the event as many as fit into it.
    """
    event_id = uuid.uuid4().hex
    told = _payload(row.service_id, known, verdict, event_id)
    if verdict.turned:
        # Written as text at once: it may name a hundred thousand ids.
        details = verdict.details.model_dump_json(by_alias=True, exclude_none=True) if verdict.details else None
        session.add(
            DiscrepancyEvent(
                id=event_id,
                timestamp=utc_text(verdict.at),
                service=row.service_id,
                status=verdict.status,
                counts_json=canonical(verdict.counts),
                checksum=told.checksum,
                latency_ms=verdict.latency_ms,
                discrepancy_details_json=details,
                reason=verdict.reason,
                findings_json=_findings_text(verdict),
                episode=episode_of(session, row.service_id, known.told, verdict),
            )
        )
    row.flapping_json = flapping.to_text(verdict.flaps)
    row.status = verdict.status
    row.payload_json = json.dumps(told.to_wire(), ensure_ascii=False)
    return NewEvent("reconciliation.update", told)


def _findings_text(verdict: Verdict) -> str | None:
    if not verdict.findings:
        return None
    return json.dumps([finding.to_wire() for finding in verdict.findings], ensure_ascii=False)


def note_answer(row: ServiceState, verdict: Verdict, look: Look) -> None:
    """The times of a check that was answered, and what it said of the service itself."""
    row.checked_at = row.last_poll_at = row.last_answer_at = utc_text(verdict.checked_at)
    row.last_verified_at = _text(verdict.last_verified_at)
    row.latency_ms = verdict.latency_ms
    row.failing_since = row.waited_ms = None
    row.reason = verdict.reason
    row.flapping_json = flapping.to_text(verdict.flaps)
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
        as_of=verdict.figures_at,
        discrepancy_details=details,
        findings=list(verdict.findings) or None,
        last_verified_at=verdict.last_verified_at,
        last_discrepancy=verdict.last_discrepancy,
        last_flapping=verdict.last_flapping,
        counts_only=list(verdict.counts_only) or None,
        counts_only_queues=list(verdict.counts_only_queues) or None,
        not_told=dict(verdict.not_told) or None,
        counts_as_of=dict(verdict.counts_as_of) or None,
        previous_status=known.told.status if known.told else None,
        reason=verdict.reason,
        silent_since=verdict.silent_since,
    )


def _text(at: datetime | None) -> str | None:
    return None if at is None else utc_text(at)

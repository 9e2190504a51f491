"""Writes the rows of a verdict inside the caller's transaction: state, known jobs, items, samples, record."""

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import insert_into
from app.eventlog.append import NewEvent
from app.eventlog.event_types import ReconciliationUpdate
from app.infra.clock import utc_text
from app.reconciliation import flapping
from app.reconciliation.findings import truncate_ids
from app.reconciliation.incident_continuation import find_continued_episode
from app.reconciliation.known_state import ItemClosing, KnownState, TrackedItem
from app.reconciliation.models import CheckSample, DiscrepancyEvent, KnownJob, OpenItem, Service, ServiceState
from app.reconciliation.types import JobDiff, Observation, ServiceVerdict, iter_slices
from app.sources.protocol import Job, ServiceSnapshot, Worker

# Rows in one statement, and in one transaction if there are more: some milliseconds on the event loop. No other
# greenlet may run in between, because one that writes would wait for this very transaction.
MAX_ROWS_PER_WRITE = 500
MAX_ITEMS_PER_WRITE = 150  # each is in five indexes
MAX_WORKERS = 500
_WORKER_ORDER = {"dead": 0, "silent": 1, "busy": 2, "suspended": 3, "idle": 4}
# Rows written in bulk are not read again through the session that wrote them, so the ORM is bypassed.
_job, _item = cast(sa.Table, KnownJob.__table__), cast(sa.Table, OpenItem.__table__)
_sample = cast(sa.Table, CheckSample.__table__)
_DELETE_JOBS = sa.delete(_job).where(
    _job.c.service_id == sa.bindparam("service"), _job.c.job_id.in_(sa.bindparam("ids", expanding=True))
)


@cache
def _upsert_jobs(dialect: str) -> sa.Executable:
    """An upsert: half the cost of delete and insert."""
    insert = insert_into(_job, dialect)
    values = {column.name: insert.excluded[column.name] for column in _job.c if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=_job.primary_key.columns, set_=values)


class StaleVersion(Exception):
    """The known state changed since it was read: judge again. Nothing was written."""


class ServiceRemoved(Exception):
    """The service is no longer watched. Nothing was written."""


def to_canonical_json(counts: Mapping[str, int]) -> str:
    return json.dumps(dict(counts), sort_keys=True, separators=(",", ":"))


def compute_checksum(counts: Mapping[str, int]) -> str:
    """SHA-256 of the counts as canonical JSON: equal counts give an equal checksum, in any program."""
    return hashlib.sha256(to_canonical_json(counts).encode()).hexdigest()


def lock_state(session: Session, service_id: str, version: int | None = None) -> ServiceState:
    """The service's state row, locked until the end of the transaction; created if there is none.

    Raises `ServiceRemoved`, and `StaleVersion` if it is not at `version`.
    """
    watched = sa.select(Service.id).where(Service.id == service_id, Service.removed_at.is_(None))
    if session.scalar(watched) is None:
        raise ServiceRemoved(service_id)
    row = session.get(ServiceState, service_id, with_for_update=True)
    if row is None:
        row = ServiceState(service_id=service_id, version=0, counts_only=False)
        session.add(row)
        session.flush()
    if version is not None and row.version != version:
        raise StaleVersion(service_id)
    return row


def delete_jobs(session: Session, service_id: str, job_ids: Iterable[str]) -> None:
    connection = session.connection()
    for ids in iter_slices(job_ids, MAX_ROWS_PER_WRITE):
        connection.execute(_DELETE_JOBS, {"service": service_id, "ids": ids})


def upsert_jobs(session: Session, service_id: str, job_diff: JobDiff, jobs: Iterable[Job]) -> None:
    connection = session.connection()
    for part in iter_slices(jobs, MAX_ROWS_PER_WRITE):
        rows = [
            {
                "service_id": service_id,
                "job_id": job.id,
                "state": job.state,
                "queue": job.queue,
                "attempt": job.attempt,
                "kept_s": job.kept_s,
                "seen_at": _utc_text_or_none(job_diff.unseen.get(job.id)),
                "ended_id": job_diff.ended.get(job.id),
            }
            for job in part
        ]
        connection.execute(_upsert_jobs(connection.dialect.name), rows)


def record_moment(row: ServiceState, observation: Observation) -> None:
    """Store which moment of the service the known jobs describe."""
    row.heard_at = utc_text(observation.began)
    row.instance_id, row.revision = observation.look.instance_id, observation.look.revision
    row.as_of = _utc_text_or_none(observation.look.as_of)
    row.counts_only = not (observation.unfinished_complete and observation.finished_complete)


def write_items(session: Session, service_id: str, opened: Iterable[TrackedItem]) -> None:
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
    closed: Iterable[ItemClosing],
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


def write_sample(session: Session, service_id: str, verdict: ServiceVerdict, status: str | None, *, ok: bool) -> None:
    write_samples(session, [build_sample(service_id, verdict, status, ok=ok)])


def write_samples(session: Session, samples: Sequence[Mapping[str, Any]]) -> None:
    session.connection().execute(sa.insert(_sample), samples)


def build_sample(service_id: str, verdict: ServiceVerdict, status: str | None, *, ok: bool) -> dict[str, Any]:
    """The figures of one poll. `status` is the service's after it; a first failure does not change it."""
    return {
        "service_id": service_id,
        "at": utc_text(verdict.checked_at),
        "ok": ok,
        "status": status,
        "latency_ms": verdict.latency_ms,
        "counts_json": to_canonical_json(verdict.counts),
    }


def record_update(session: Session, row: ServiceState, known: KnownState, verdict: ServiceVerdict) -> NewEvent:
    """Write the row of a change of state, if it is one, and return the event, to be appended last in the transaction.

    Row and event have the same id. The row keeps every missing id, the event as many as fit. An outage whose reasons
    alternate gets one row for each reason.
    """
    event_id = uuid.uuid4().hex
    payload = _build_payload(row.service_id, known, verdict, event_id)
    episode = None
    if verdict.status_changed:
        episode = find_continued_episode(session, row.service_id, known.last_published, verdict)
    if verdict.status_changed and not _is_known_reason(session, episode, verdict):
        # Written as text directly: it may hold a hundred thousand ids.
        details = verdict.details.model_dump_json(by_alias=True, exclude_none=True) if verdict.details else None
        session.add(
            DiscrepancyEvent(
                id=event_id,
                timestamp=utc_text(verdict.at),
                service=row.service_id,
                status=verdict.status,
                counts_json=to_canonical_json(verdict.counts),
                checksum=payload.checksum,
                latency_ms=verdict.latency_ms,
                discrepancy_details_json=details,
                reason=verdict.reason,
                findings_json=_dump_findings(verdict),
                episode=episode,
            )
        )
    row.flapping_json = flapping.dump_flaps(verdict.flaps)
    row.status = verdict.status
    row.payload_json = json.dumps(payload.to_wire(), ensure_ascii=False)
    return NewEvent("reconciliation.update", payload)


def _is_known_reason(session: Session, episode: str | None, verdict: ServiceVerdict) -> bool:
    """True if only the reason of an outage is another one, and its record has that reason already."""
    if episode is None or verdict.status != "stale" or verdict.opened or verdict.closed:
        return False
    of_outage = sa.or_(DiscrepancyEvent.id == episode, DiscrepancyEvent.episode == episode)
    known = sa.select(DiscrepancyEvent.id).where(of_outage, DiscrepancyEvent.reason == verdict.reason)
    return session.scalar(known.limit(1)) is not None


def _dump_findings(verdict: ServiceVerdict) -> str | None:
    if not verdict.findings:
        return None
    return json.dumps([finding.to_wire() for finding in verdict.findings], ensure_ascii=False)


def record_answer(row: ServiceState, verdict: ServiceVerdict, look: ServiceSnapshot) -> None:
    """Store the times of an answered check, and what the service said about itself."""
    row.checked_at = row.last_poll_at = row.last_answer_at = utc_text(verdict.checked_at)
    row.last_verified_at = _utc_text_or_none(verdict.last_verified_at)
    row.latency_ms = verdict.latency_ms
    row.failing_since = row.waited_ms = None
    row.reason = verdict.reason
    row.flapping_json = flapping.dump_flaps(verdict.flaps)
    row.health, row.workers_json = look.health, dump_workers(look.workers)


def dump_workers(workers: Sequence[Worker] | None) -> str | None:
    """Workers for the page of the service: at most `MAX_WORKERS`, those with problems first."""
    if workers is None:
        return None
    shown = sorted(workers, key=lambda worker: (_WORKER_ORDER[worker.state], worker.id))[:MAX_WORKERS]
    return json.dumps(
        [worker._asdict() | {"seen_at": _utc_text_or_none(worker.seen_at)} for worker in shown], ensure_ascii=False
    )


def _build_payload(service_id: str, known: KnownState, verdict: ServiceVerdict, event_id: str) -> ReconciliationUpdate:
    details = verdict.details
    if details is not None:
        details = details.model_copy(update={"missing_job_ids": truncate_ids(details.missing_job_ids)})
    return ReconciliationUpdate(
        event_id=event_id,
        service=service_id,
        status=verdict.status,
        counts=dict(verdict.counts),
        checksum=compute_checksum(verdict.counts),
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
        previous_status=known.last_published.status if known.last_published else None,
        reason=verdict.reason,
        silent_since=verdict.silent_since,
        change="figures" if _has_only_figures(known, verdict) else None,
    )


def _has_only_figures(known: KnownState, verdict: ServiceVerdict) -> bool:
    """A discrepancy that lasts while work goes on would otherwise be news with each check."""
    if known.last_published is None or verdict.status_changed:
        return False
    before = {finding.kind for finding in known.last_published.findings or ()}
    return before == {finding.kind for finding in verdict.findings}


def _utc_text_or_none(at: datetime | None) -> str | None:
    return None if at is None else utc_text(at)

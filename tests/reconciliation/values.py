"""What tests of reconciliation are made of: looks, known jobs, moments; seconds count from T0."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from app.eventlog.event_types import ReconciliationUpdate
from app.reconciliation.known_state import KnownState, TrackedItem
from app.reconciliation.reconcile import reconcile
from app.reconciliation.row_writer import compute_checksum
from app.reconciliation.types import CheckEvidence, Observation, ServiceVerdict
from app.sources.protocol import Job, LeftOut, Listing, ServiceSnapshot

T0 = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
FLOW = ("queued", "running", "succeeded", "failed")
FINISHED = ("succeeded", "failed")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def job(job_id: str, state: str = "queued", queue: str | None = "mail", attempt: int | None = 1) -> Job:
    return Job(job_id, state, queue, attempt)


def listing(state: str, ids: Iterable[str], *, complete: bool = True) -> Listing:
    return Listing(state, state in FINISHED, {i: job(i, state) for i in ids}, complete)


def look(
    queued: Iterable[str] = (),
    running: Iterable[str] = (),
    succeeded: Iterable[str] = (),
    failed: Iterable[str] = (),
    *,
    cut: Iterable[str] = (),
    counts: Mapping[str, int] | None = None,
    **more: Any,
) -> ServiceSnapshot:
    """A service's answer; the lists of the states in `cut` are empty and incomplete, their counts stay."""
    ids = dict(zip(FLOW, (list(queued), list(running), list(succeeded), list(failed)), strict=True))
    numbers = {state: len(found) for state, found in ids.items()}
    listings = tuple(
        listing(state, [] if state in set(cut) else found, complete=state not in set(cut))
        for state, found in ids.items()
    )
    given = {"latency_ms": 7, "instance_id": "one", "one_revision": True, **more}
    return ServiceSnapshot(numbers if counts is None else counts, listings, **given)


def left_out(answer: ServiceSnapshot, number: int) -> ServiceSnapshot:
    """The same, of whose first list so many entries cannot be read."""
    first, *others = answer.listings
    what = LeftOut(number, f"entry 2 of {first.state}: its id has a control character")
    return replace(answer, listings=(replace(first, left_out=what), *others))


def heard(answer: ServiceSnapshot, began: float = 5, ended: float | None = None) -> Observation:
    return Observation(answer, at(began), at(began if ended is None else ended))


def known(*ids: str, heard_at: float = 0, items: Iterable[TrackedItem] = (), **more: Any) -> KnownState:
    """Queued jobs, last seen at `heard_at`."""
    jobs = {job_id: job(job_id) for job_id in ids}
    given = {"heard_at": at(heard_at), "instance_id": "one", "last_published": told(), **more}
    return KnownState(jobs=jobs, items={item.key: item for item in items}, **given)


def told(status: str = "verified", counts: Mapping[str, int] | None = None, **more: Any) -> ReconciliationUpdate:
    """What the newest event said."""
    given: dict[str, Any] = {
        "event_id": "e",
        "service": "s",
        "status": status,
        "counts": dict(counts or {}),
        "checksum": compute_checksum(counts or {}),
        "latency_ms": 1,
        "checked_at": T0,
        **more,
    }
    return ReconciliationUpdate(**given)


def missing(job_id: str, since: float = 0) -> TrackedItem:
    return TrackedItem(job_id, "missing", at(since), "queued", "mail")


def unaccounted(job_id: str, since: float = 0) -> TrackedItem:
    return TrackedItem(job_id, "unaccounted", at(since), "queued", "mail")


def judge(
    before: KnownState, first: Observation, evidence: CheckEvidence | None = None, now: float | None = None
) -> ServiceVerdict:
    return reconcile(before, first, evidence or CheckEvidence(), first.ended if now is None else at(now))


def ids_of(verdict: ServiceVerdict, kind: str) -> list[str]:
    """The ids of the findings of this kind."""
    return [job_id for finding in verdict.findings if finding.kind == kind for job_id in finding.job_ids]


def kinds_of(verdict: ServiceVerdict) -> list[str]:
    return [finding.kind for finding in verdict.findings]

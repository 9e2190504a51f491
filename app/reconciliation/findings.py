"""Builds findings: what is wrong with a service, by kind, from open items and from one snapshot. Pure."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from app.eventlog.event_types import (
    DiscrepancyDetails,
    FindingKind,
    FindingPayload,
    LastDiscrepancyPayload,
    ReconciliationUpdate,
)
from app.infra.clock import display_text
from app.reconciliation.known_state import Loss, TrackedItem
from app.reconciliation.types import (
    NO_CONTEXT,
    FindingContext,
    FindingContexts,
)
from app.sources.protocol import Job, LeftOut, ServiceSnapshot

# Kinds that put a service into the state `discrepancy`. Other kinds are only shown.
DISCREPANCY_KINDS: frozenset[FindingKind] = frozenset(
    {"missing", "extra", "lost", "dangling", "duplicate", "orphaned", "overdue", "count-mismatch"}
)
# What stays as it was found until an answer says otherwise.
_PERSISTING_KINDS: frozenset[FindingKind] = DISCREPANCY_KINDS | {"unreadable"}
_ITEM_KINDS: frozenset[FindingKind] = frozenset({"missing", "extra", "unaccounted"})
# An event holds 64 KiB: at worst nine lists of ids, and room for the rest. `count` gives the full number.
MAX_IDS_BYTES = 6_000
MAX_MISMATCHES = 3
MAX_CUT_QUEUES = 10

IdsByKind = dict[FindingKind, list[str]]


def group_items(items: Iterable[TrackedItem], pending: Sequence[Job] = ()) -> IdsByKind:
    """Ids of open items by kind, oldest first. `pending` jobs count as unaccounted until the service was asked."""
    found: IdsByKind = {}
    for item in sorted(items, key=lambda item: (item.since, item.job_id)):
        found.setdefault(item.kind, []).append(item.job_id)
    waiting = sorted(job.id for job in pending)
    if waiting:
        found.setdefault("unaccounted", []).extend(waiting)
    return found


def find_in_snapshot(look: ServiceSnapshot, twice: Collection[str]) -> IdsByKind:
    """What the snapshot shows by itself.

    `twice` are ids in two lists. If the lists are of different revisions, that only means that the jobs moved.
    """
    found: IdsByKind = {anomaly.kind: sorted(anomaly.job_ids) for anomaly in look.anomalies if anomaly.job_ids}
    if find_count_mismatches(look):
        found["count-mismatch"] = []
    if any(True for _ in _iter_left_out(look)):
        found["unreadable"] = []
    if twice and look.one_revision:
        found["duplicate"] = sorted({*found.get("duplicate", []), *twice})
    return found


def read_published_ids(last_published: ReconciliationUpdate | None) -> IdsByKind:
    """What the newest event found besides open items."""
    findings = (last_published.findings if last_published else None) or []
    return {finding.kind: list(finding.job_ids) for finding in findings if finding.kind not in _ITEM_KINDS}


def read_persisting_findings(last_published: ReconciliationUpdate | None) -> IdsByKind:
    """The part of that which stays wrong until an answer says otherwise."""
    return {kind: ids for kind, ids in read_published_ids(last_published).items() if kind in _PERSISTING_KINDS}


def find_loss(loss: Loss | None) -> IdsByKind:
    return {} if loss is None else {"lost": []}


def describe_loss(loss: Loss | None) -> FindingContexts:
    """Both numbers: the jobs before, and the jobs in the next answer."""
    if loss is None:
        return NO_CONTEXT
    note = f"{loss.before:,} jobs before, {loss.after:,} in the next answer at {display_text(loss.since)}"
    return {"lost": FindingContext(loss.before - loss.after, note)}


def describe_unreadable(look: ServiceSnapshot) -> FindingContexts:
    left_out = list(_iter_left_out(look))
    if not left_out:
        return NO_CONTEXT
    return {"unreadable": FindingContext(sum(one.number for one in left_out), left_out[0].first)}


def _iter_left_out(look: ServiceSnapshot) -> Iterator[LeftOut]:
    """What could not be accepted, in the lists and beside them."""
    return (one for one in (*(listing.left_out for listing in look.listings), look.left_out) if one.number)


def describe_anomalies(look: ServiceSnapshot) -> FindingContexts:
    """What is known of findings besides ids. It is kept while the service does not answer, unlike the reason."""
    said: dict[FindingKind, FindingContext] = {
        one.kind: FindingContext(one.number, one.note) for one in look.anomalies if one.number or one.note
    }
    if mismatches := find_count_mismatches(look):
        said["count-mismatch"] = FindingContext(note="; ".join(mismatches))
    return said


def read_published_contexts(last_published: ReconciliationUpdate | None) -> FindingContexts:
    """What the newest event said about its findings besides open items."""
    findings = (last_published.findings if last_published else None) or []
    return {
        one.kind: FindingContext(one.count or 0, one.note or "", tuple(one.queues or ()), one.since)
        for one in findings
        if one.kind not in _ITEM_KINDS
    }


def build_findings(
    found: IdsByKind, last_published: ReconciliationUpdate | None, now: datetime, contexts: FindingContexts = NO_CONTEXT
) -> tuple[FindingPayload, ...]:
    """Findings for the payload. A kind that was published before keeps its `since`, unless a better one is known."""
    since = {finding.kind: finding.since for finding in (last_published.findings if last_published else None) or []}
    return tuple(
        _build_finding(kind, ids, since.get(kind, now), contexts.get(kind, FindingContext()))
        for kind, ids in sorted(found.items())
    )


def _build_finding(kind: FindingKind, ids: Sequence[str], since: datetime, about: FindingContext) -> FindingPayload:
    named = truncate_ids(ids)
    total = len(ids) if len(named) < len(ids) else 0
    count = about.number or total or None
    return FindingPayload(
        kind=kind,
        job_ids=named,
        since=about.since or since,
        count=count,
        note=about.note or None,
        queues=list(about.queues) or None,
    )


def is_discrepant(found: IdsByKind) -> bool:
    return not DISCREPANCY_KINDS.isdisjoint(found)


def build_details(found: IdsByKind, present: int) -> DiscrepancyDetails | None:
    """Both sides of the difference: expected jobs and actual jobs. None without a discrepancy."""
    if not is_discrepant(found):
        return None
    missing = found.get("missing", [])
    expected = max(0, present + len(missing) - len(found.get("extra", [])))
    # Skips validation: there may be a hundred thousand ids, and each was validated when it was read.
    return DiscrepancyDetails.model_construct(expected=expected, actual=present, missing_job_ids=missing)


def update_last_discrepancy(
    last_published: ReconciliationUpdate | None, status: str, missing: Sequence[str], now: datetime
) -> LastDiscrepancyPayload | None:
    """The newest discrepancy after this verdict. While one is open it keeps every id it ever named."""
    last = last_published.last_discrepancy if last_published else None
    is_open = last is not None and last.closed_at is None
    if status == "discrepancy":
        named = list(last.missing_job_ids) if last and is_open else []
        ids = truncate_ids(_unique(chain(named, missing)))
        return LastDiscrepancyPayload(at=last.at if last and is_open else now, missing_job_ids=ids)
    if status == "verified" and last and is_open:
        return last.model_copy(update={"closed_at": now})
    return last


def build_reason(look: ServiceSnapshot) -> str | None:
    """Text about the findings beyond kinds and ids, or None."""
    said = [anomaly.note for anomaly in look.anomalies if anomaly.job_ids and anomaly.note]
    return "; ".join([*find_count_mismatches(look), *said]) or None


def list_cut_states(look: ServiceSnapshot) -> tuple[str, ...]:
    """The states whose lists a bound cut."""
    return tuple(sorted(listing.state for listing in look.listings if not listing.complete))


def list_cut_queues(look: ServiceSnapshot) -> tuple[str, ...]:
    """The queues that a bound cut, if it left others complete."""
    cut = [listing.cut for listing in look.listings if not listing.complete]
    return tuple(sorted(frozenset().union(*cut))[:MAX_CUT_QUEUES]) if all(cut) else ()


def find_count_mismatches(look: ServiceSnapshot) -> list[str]:
    """`queued: 5 counted, 4 listed`, for the first few states whose count and list disagree."""
    if not look.one_revision:
        return []
    pairs = [
        (listing.state, look.counts[listing.state], len(listing.jobs) + listing.left_out.number)
        for listing in look.listings
        if listing.complete and listing.state in look.counts
    ]
    wrong = [
        f"{state}: {counted:,} counted, {listed:,} listed" for state, counted, listed in pairs if counted != listed
    ]
    return wrong[:MAX_MISMATCHES]


def truncate_ids(ids: Iterable[str], budget: int = MAX_IDS_BYTES) -> list[str]:
    """As many of the first ids as fit into `budget` bytes of JSON."""
    taken: list[str] = []
    for job_id in ids:
        budget -= len(json.dumps(job_id, ensure_ascii=False).encode()) + 1
        if budget < 0:
            break
        taken.append(job_id)
    return taken


def _unique(ids: Iterable[str]) -> Iterator[str]:
    met: set[str] = set()
    for job_id in ids:
        if job_id not in met:
            met.add(job_id)
            yield job_id


def is_same_as_published(findings: Iterable[FindingPayload], last_published: ReconciliationUpdate | None) -> bool:
    """True if the newest event has the same kinds, ids and numbers. The count of a flapping state is ignored."""
    return _comparable(findings) == _comparable((last_published.findings if last_published else None) or ())


def _comparable(findings: Iterable[FindingPayload]) -> dict[str, tuple[Any, ...]]:
    return {
        one.kind: (one.job_ids, None if one.kind == "flapping" else one.count, one.note, one.queues) for one in findings
    }

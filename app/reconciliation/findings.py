"""What is wrong with a service, by kind: from open items and from what one look shows by itself. Pure."""

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
from app.reconciliation.types import NOTHING_ABOUT, About, Abouts, Breathe, Item, Loss, in_order, no_pause, slices
from app.sources.protocol import Job, Look

# Kinds that put a service into discrepancy. The others are shown, and no more.
DISCREPANT: frozenset[FindingKind] = frozenset(
    {"missing", "extra", "lost", "dangling", "duplicate", "orphaned", "overdue", "count-mismatch"}
)
_OF_ITEMS: frozenset[FindingKind] = frozenset({"missing", "extra", "unaccounted"})
# An event holds 64 KiB at most: nine lists of ids at worst, and room for the rest. Figures tell how many there are.
IDS_BYTES = 6_000
MAX_MISMATCHES = 3
MAX_CUT_QUEUES = 10

Found = dict[FindingKind, list[str]]


def of_items(items: Iterable[Item], pending: Sequence[Job] = (), breathe: Breathe = no_pause) -> Found:
    """Open items by kind, oldest first; `pending` jobs are unaccounted for until the service was asked."""
    found: Found = {}
    for part in slices(in_order(items, lambda item: (item.since, item.job_id), breathe)):
        for item in part:
            found.setdefault(item.kind, []).append(item.job_id)
        breathe()
    waiting = [job.id for job in in_order(pending, lambda job: job.id, breathe)]
    if waiting:
        found.setdefault("unaccounted", []).extend(waiting)
    return found


def of_look(look: Look, twice: Collection[str]) -> Found:
    """What the look alone shows; `twice`: ids in two lists, which of different revisions only means that they moved."""
    found: Found = {oddity.kind: sorted(oddity.job_ids) for oddity in look.oddities if oddity.job_ids}
    if count_mismatches(look):
        found["count-mismatch"] = []
    if any(listing.left_out.number for listing in look.listings):
        found["unreadable"] = []
    if twice and look.one_revision:
        found["duplicate"] = sorted({*found.get("duplicate", []), *twice})
    return found


def kept(told: ReconciliationUpdate | None) -> Found:
    """What the newest event found besides open items."""
    findings = (told.findings if told else None) or []
    return {finding.kind: list(finding.job_ids) for finding in findings if finding.kind not in _OF_ITEMS}


def not_denied(told: ReconciliationUpdate | None) -> Found:
    """Of that, what goes on being wrong until an answer says otherwise."""
    return {kind: ids for kind, ids in kept(told).items() if kind in DISCREPANT}


def of_loss(loss: Loss | None) -> Found:
    return {} if loss is None else {"lost": []}


def about_loss(loss: Loss | None) -> Abouts:
    """Both numbers: what was there, and what the next answer had."""
    if loss is None:
        return NOTHING_ABOUT
    note = f"{loss.before:,} jobs before, {loss.after:,} in the next answer at {loss.since:%Y-%m-%d %H:%M:%S} UTC"
    return {"lost": About(loss.before - loss.after, note)}


def about_look(look: Look) -> Abouts:
    left_out = [listing.left_out for listing in look.listings if listing.left_out.number]
    if not left_out:
        return NOTHING_ABOUT
    return {"unreadable": About(sum(one.number for one in left_out), left_out[0].first)}


def about_kept(told: ReconciliationUpdate | None) -> Abouts:
    """What the newest event said of what it found besides open items."""
    findings = (told.findings if told else None) or []
    return {
        one.kind: About(one.count or 0, one.note or "", tuple(one.queues or ()), one.since)
        for one in findings
        if one.kind not in _OF_ITEMS
    }


def as_findings(
    found: Found, told: ReconciliationUpdate | None, now: datetime, about: Abouts = NOTHING_ABOUT
) -> tuple[FindingPayload, ...]:
    """For the payload; a kind that was told of before keeps its `since`, unless that is known better."""
    since = {finding.kind: finding.since for finding in (told.findings if told else None) or []}
    return tuple(
        _finding(kind, ids, since.get(kind, now), about.get(kind, About())) for kind, ids in sorted(found.items())
    )


def _finding(kind: FindingKind, ids: Sequence[str], since: datetime, about: About) -> FindingPayload:
    named = bounded_ids(ids)
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


def is_discrepant(found: Found) -> bool:
    return not DISCREPANT.isdisjoint(found)


def details_of(found: Found, present: int) -> DiscrepancyDetails | None:
    """Both sides of the difference: the jobs that should be there, and those that are."""
    if not is_discrepant(found):
        return None
    missing = found.get("missing", [])
    expected = max(0, present + len(missing) - len(found.get("extra", [])))
    # Not looked through once more: there may be a hundred thousand, and each was checked when it was heard.
    return DiscrepancyDetails.model_construct(expected=expected, actual=present, missing_job_ids=missing)


def last_discrepancy(
    told: ReconciliationUpdate | None, status: str, missing: Sequence[str], now: datetime
) -> LastDiscrepancyPayload | None:
    """The newest discrepancy after this verdict; one that goes on keeps every id it ever named."""
    last = told.last_discrepancy if told else None
    is_open = last is not None and last.closed_at is None
    if status == "discrepancy":
        named = list(last.missing_job_ids) if last and is_open else []
        ids = bounded_ids(_once(chain(named, missing)))
        return LastDiscrepancyPayload(at=last.at if last and is_open else now, missing_job_ids=ids)
    if status == "verified" and last and is_open:
        return last.model_copy(update={"closed_at": now})
    return last


def notes(look: Look) -> str | None:
    """What is said of the findings beyond kinds and ids."""
    said = [oddity.note for oddity in look.oddities if oddity.job_ids and oddity.note]
    return "; ".join([*count_mismatches(look), *said]) or None


def counts_only(look: Look) -> tuple[str, ...]:
    """The states whose lists a bound cut."""
    return tuple(sorted(listing.state for listing in look.listings if not listing.complete))


def counts_only_queues(look: Look) -> tuple[str, ...]:
    """The queues that a bound cut, where it left others whole."""
    cut = [listing.cut for listing in look.listings if not listing.complete]
    return tuple(sorted(frozenset().union(*cut))[:MAX_CUT_QUEUES]) if all(cut) else ()


def count_mismatches(look: Look) -> list[str]:
    """`queued: 5 counted, 4 listed`, for each of the first few states that do not agree with themselves."""
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


def bounded_ids(ids: Iterable[str], budget: int = IDS_BYTES) -> list[str]:
    """As many of the first ids as fit into `budget` bytes of JSON."""
    taken: list[str] = []
    for job_id in ids:
        budget -= len(json.dumps(job_id, ensure_ascii=False).encode()) + 1
        if budget < 0:
            break
        taken.append(job_id)
    return taken


def _once(ids: Iterable[str]) -> Iterator[str]:
    met: set[str] = set()
    for job_id in ids:
        if job_id not in met:
            met.add(job_id)
            yield job_id


def same(findings: Iterable[FindingPayload], told: ReconciliationUpdate | None) -> bool:
    """Whether the newest event named the same kinds, ids and numbers; how often a state comes and goes is no news."""
    return _told_of(findings) == _told_of((told.findings if told else None) or ())


def _told_of(findings: Iterable[FindingPayload]) -> dict[str, tuple[Any, ...]]:
    return {
        one.kind: (one.job_ids, None if one.kind == "flapping" else one.count, one.note, one.queues) for one in findings
    }

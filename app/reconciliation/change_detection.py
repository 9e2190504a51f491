"""Decides whether a verdict is published, compared with the last one, and what a flapping service shows. Pure."""

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from zlib import crc32

from app.eventlog.event_types import LastFlapping, ReconciliationUpdate
from app.reconciliation import findings, flapping, unserved_queues
from app.reconciliation.findings import IdsByKind
from app.reconciliation.flapping import Flaps, StatusTurn
from app.reconciliation.known_state import ItemKey, KnownState
from app.reconciliation.types import FindingContext, FindingContexts, ServiceVerdict

# Kinds that are compared by their items; other discrepancies are compared with what was published.
_ITEM_KINDS = frozenset({"missing", "extra"})
# Kinds that are neither part of a discrepancy nor of a change of state.
_INDEPENDENT_KINDS = frozenset({"unreadable", "no-worker"})
ALTERNATING_REASON = "alternates between answering and not answering"


def judge_check(known: KnownState, verdict: ServiceVerdict, found: IdsByKind) -> ServiceVerdict:
    """Complete the verdict of a check: is it published, and is its state another one? Handles flapping."""
    kinds = frozenset(found) & (findings.DISCREPANCY_KINDS | _INDEPENDENT_KINDS)
    flaps = flapping.update_flaps(
        known.flaps, StatusTurn(verdict.at, verdict.status, fingerprint_counts(verdict.counts), kinds)
    )
    verdict = replace(verdict, flaps=flaps, last_flapping=_last_flapping(known, flaps, verdict))
    if flaps.since is None:
        return detect_change(known, verdict, found)
    shown = detect_change(known, _show_worst(known, verdict), {**found, "flapping": []})
    return shown if known.flaps.since != flaps.since else _suppress_repeats(known, verdict, shown, kinds)


def detect_change(known: KnownState, verdict: ServiceVerdict, found: IdsByKind) -> ServiceVerdict:
    last_published = known.last_published
    moved = any(item.kind in _ITEM_KINDS for item in chain(verdict.opened, (done.item for done in verdict.closed)))
    status_changed = last_published is None or last_published.status != verdict.status or moved
    if last_published is not None and verdict.status == "stale":
        # An outage may have several reasons, one after the other, and the record keeps each.
        status_changed = status_changed or last_published.reason != verdict.reason
    if last_published is not None and verdict.status != "stale" and not status_changed:
        before = {
            kind: ids
            for kind, ids in findings.read_published_ids(last_published).items()
            if kind in findings.DISCREPANCY_KINDS
        }
        status_changed = before != {
            k: findings.truncate_ids(found[k]) for k in findings.DISCREPANCY_KINDS - _ITEM_KINDS if k in found
        }
    missing = found.get("missing", [])
    # Without an answer, findings besides open items were copied from the last event, and so is their context.
    known_contexts = (
        verdict.contexts
        if verdict.job_diff is not None
        else {**findings.read_published_contexts(last_published), **verdict.contexts}
    )
    contexts: FindingContexts = {**known_contexts, "flapping": FindingContext(verdict.flaps.count)}
    named = findings.build_findings(found, last_published, verdict.at, contexts)
    return replace(
        verdict,
        findings=named,
        last_discrepancy=findings.update_last_discrepancy(last_published, verdict.status, missing, verdict.at),
        status_changed=status_changed,
        changed=status_changed
        or not _is_same(last_published, verdict)
        or not findings.is_same_as_published(named, last_published),
    )


def fingerprint_counts(counts: Mapping[str, int]) -> str:
    """A short fingerprint of the counts, to remember some of them."""
    return f"{crc32(json.dumps(sorted(counts.items())).encode()):08x}"


def _is_same(last_published: ReconciliationUpdate | None, verdict: ServiceVerdict) -> bool:
    if last_published is None:
        return False
    before = (
        tuple(last_published.counts_only or ()),
        tuple(last_published.counts_only_queues or ()),
        last_published.not_told or {},
    )
    after = (verdict.counts_only, verdict.counts_only_queues, verdict.not_told)
    return (last_published.counts, last_published.reason, before) == (verdict.counts, verdict.reason, after)


def _last_flapping(known: KnownState, flaps: Flaps, verdict: ServiceVerdict) -> LastFlapping | None:
    if flaps.since is not None:
        return LastFlapping(since=flaps.since, count=flaps.count)
    before = known.flaps
    if before.since is not None:
        return LastFlapping(since=before.since, count=before.count, calm_at=verdict.at)
    return known.last_published.last_flapping if known.last_published else None


def _show_worst(known: KnownState, verdict: ServiceVerdict) -> ServiceVerdict:
    """What a flapping service shows: the worst of its states, even while it looks fine."""
    worst, last_published = verdict.flaps.worst, known.last_published
    if worst == verdict.status:
        return verdict
    if worst == "stale":
        return replace(
            verdict,
            status=worst,
            counts={},
            details=None,
            not_told={},
            counts_as_of={},
            reason=_stale_reason(last_published),
        )
    if verdict.status == "stale" and last_published is not None:
        return replace(verdict, status=worst, counts=dict(last_published.counts), reason=last_published.reason)
    return replace(verdict, status=worst)


def _stale_reason(last_published: ReconciliationUpdate | None) -> str:
    return (
        last_published.reason if last_published and last_published.status == "stale" else None
    ) or ALTERNATING_REASON


def _suppress_repeats(
    known: KnownState, found: ServiceVerdict, shown: ServiceVerdict, kinds: frozenset[str]
) -> ServiceVerdict:
    """For a service known to flap: publish only new problems, and counts that it has not shown before.

    Counts are not published in the check that changes the status, because they change with it.
    """
    flaps, last_published = found.flaps, known.last_published
    new = (kinds & findings.DISCREPANCY_KINDS) - known.flaps.kinds or _opened_keys(found) - known.alerted_items
    if new or (last_published is not None and flapping.is_worse(shown.status, last_published.status)):
        return replace(
            shown,
            flaps=flapping.remember(flaps, fingerprint_counts(found.counts), kinds),
            status_changed=True,
            changed=True,
        )
    figures = fingerprint_counts(found.counts)
    if found.job_diff is not None and (
        kinds - known.flaps.kinds or _finding_queues(shown) != unserved_queues.read_published_queues(last_published)
    ):
        return replace(shown, flaps=flapping.remember(flaps, figures, kinds), status_changed=False, changed=True)
    moved = (
        shown.status != "stale"
        and found.status != "stale"
        and last_published is not None
        and last_published.counts != shown.counts
    )
    status_changed = found.status != known.flaps.status
    if moved and not status_changed and figures not in flaps.figures:
        return replace(shown, flaps=flapping.remember(flaps, figures), status_changed=False, changed=True)
    return replace(shown, status_changed=False, changed=False, suppressed=moved or found.status != shown.status)


def _finding_queues(verdict: ServiceVerdict) -> frozenset[str]:
    return frozenset(queue for one in verdict.findings for queue in one.queues or ())


def _opened_keys(verdict: ServiceVerdict) -> set[ItemKey]:
    return {item.key for item in verdict.opened if item.kind in _ITEM_KINDS}

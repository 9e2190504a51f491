"""Whether a verdict is news beside what was told last, and what is told of a service that flaps. Pure."""

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from zlib import crc32

from app.eventlog.event_types import LastFlapping, ReconciliationUpdate
from app.reconciliation import findings, flapping, unserved_queues
from app.reconciliation.findings import IdsByKind
from app.reconciliation.flapping import Flaps, StatusTurn
from app.reconciliation.types import FindingContext, FindingContexts, ItemKey, KnownState, ServiceVerdict

# What opens and closes by its items; what else is found wrong is compared with what was told.
_ITEM_KINDS = frozenset({"missing", "extra"})
# Facts of their own, which no discrepancy and no turn of the state speaks for.
_INDEPENDENT_KINDS = frozenset({"unreadable", "no-worker"})
ALTERNATING_REASON = "answers and falls silent by turns"


def judge_check(known: KnownState, verdict: ServiceVerdict, found: IdsByKind) -> ServiceVerdict:
    """The verdict of a check beside what was told last: whether it is news, and whether it is news of another state."""
    kinds = frozenset(found) & (findings.DISCREPANCY_KINDS | _INDEPENDENT_KINDS)
    flaps = flapping.update_flaps(
        known.flaps, StatusTurn(verdict.at, verdict.status, fingerprint_counts(verdict.counts), kinds)
    )
    verdict = replace(verdict, flaps=flaps, last_flapping=_last_flapping(known, flaps, verdict))
    if flaps.since is None:
        return detect_change(known, verdict, found)
    told = detect_change(known, _show_worst(known, verdict), {**found, "flapping": []})
    return told if known.flaps.since != flaps.since else _suppress_repeats(known, verdict, told, kinds)


def detect_change(known: KnownState, verdict: ServiceVerdict, found: IdsByKind) -> ServiceVerdict:
    told = known.told
    moved = any(item.kind in _ITEM_KINDS for item in chain(verdict.opened, (done.item for done in verdict.closed)))
    turned = told is None or told.status != verdict.status or moved
    if told is not None and verdict.status != "stale" and not turned:
        before = {kind: ids for kind, ids in findings.published_ids(told).items() if kind in findings.DISCREPANCY_KINDS}
        turned = before != {
            k: findings.truncate_ids(found[k]) for k in findings.DISCREPANCY_KINDS - _ITEM_KINDS if k in found
        }
    missing = found.get("missing", [])
    # Where nothing was heard, what is no open item was taken from there, and with it what was said of it.
    heard = verdict.about if verdict.belief is not None else {**findings.published_contexts(told), **verdict.about}
    about: FindingContexts = {**heard, "flapping": FindingContext(verdict.flaps.count)}
    named = findings.build_findings(found, told, verdict.at, about)
    return replace(
        verdict,
        findings=named,
        last_discrepancy=findings.update_last_discrepancy(told, verdict.status, missing, verdict.at),
        turned=turned,
        changed=turned or not _is_same(told, verdict) or not findings.is_same_as_published(named, told),
    )


def fingerprint_counts(counts: Mapping[str, int]) -> str:
    """Short enough to remember some: which figures these are."""
    return f"{crc32(json.dumps(sorted(counts.items())).encode()):08x}"


def _is_same(told: ReconciliationUpdate | None, verdict: ServiceVerdict) -> bool:
    if told is None:
        return False
    before = (tuple(told.counts_only or ()), tuple(told.counts_only_queues or ()), told.not_told or {})
    after = (verdict.counts_only, verdict.counts_only_queues, verdict.not_told)
    return (told.counts, told.reason, before) == (verdict.counts, verdict.reason, after)


def _last_flapping(known: KnownState, flaps: Flaps, verdict: ServiceVerdict) -> LastFlapping | None:
    if flaps.since is not None:
        return LastFlapping(since=flaps.since, count=flaps.count)
    before = known.flaps
    if before.since is not None:
        return LastFlapping(since=before.since, count=before.count, calm_at=verdict.at)
    return known.told.last_flapping if known.told else None


def _show_worst(known: KnownState, verdict: ServiceVerdict) -> ServiceVerdict:
    """What a service that flaps shows: the worst of its states, never one that looks fine just now."""
    worst, told = verdict.flaps.worst, known.told
    if worst == verdict.status:
        return verdict
    if worst == "stale":
        return replace(
            verdict,
            status=worst,
            counts={},
            details=None,
            counts_only=(),
            counts_only_queues=(),
            not_told={},
            counts_as_of={},
            reason=_stale_reason(told),
        )
    if verdict.status == "stale" and told is not None:
        return replace(verdict, status=worst, counts=dict(told.counts), reason=told.reason)
    return replace(verdict, status=worst)


def _stale_reason(told: ReconciliationUpdate | None) -> str:
    return (told.reason if told and told.status == "stale" else None) or ALTERNATING_REASON


def _suppress_repeats(
    known: KnownState, found: ServiceVerdict, shown: ServiceVerdict, kinds: frozenset[str]
) -> ServiceVerdict:
    """Of a service that was said to flap: only what is new in itself, and figures that it has not shown before.

    Figures are not told at the very turn, with which they go up and down.
    """
    flaps, told = found.flaps, known.told
    new = (kinds & findings.DISCREPANCY_KINDS) - known.flaps.kinds or _opened_keys(found) - known.named
    if new or (told is not None and flapping.is_worse(shown.status, told.status)):
        return replace(
            shown, flaps=flapping.remember(flaps, fingerprint_counts(found.counts), kinds), turned=True, changed=True
        )
    figures = fingerprint_counts(found.counts)
    if found.belief is not None and (
        kinds - known.flaps.kinds or _finding_queues(shown) != unserved_queues.published_queues(told)
    ):
        return replace(shown, flaps=flapping.remember(flaps, figures, kinds), turned=False, changed=True)
    moved = shown.status != "stale" and found.status != "stale" and told is not None and told.counts != shown.counts
    turned = found.status != known.flaps.status
    if moved and not turned and figures not in flaps.figures:
        return replace(shown, flaps=flapping.remember(flaps, figures), turned=False, changed=True)
    return replace(shown, turned=False, changed=False, hushed=moved or found.status != shown.status)


def _finding_queues(verdict: ServiceVerdict) -> frozenset[str]:
    return frozenset(queue for one in verdict.findings for queue in one.queues or ())


def _opened_keys(verdict: ServiceVerdict) -> set[ItemKey]:
    return {item.key for item in verdict.opened if item.kind in _ITEM_KINDS}

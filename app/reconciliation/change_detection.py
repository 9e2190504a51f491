"""Whether a verdict is news beside what was told last, and what is told of a service that flaps. Pure."""

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from zlib import crc32

from app.eventlog.event_types import LastFlapping, ReconciliationUpdate
from app.reconciliation import findings, flapping, unserved_queues
from app.reconciliation.findings import Found
from app.reconciliation.flapping import Flaps, Turn
from app.reconciliation.types import About, Abouts, ItemKey, Known, Verdict

# What opens and closes by its items; what else is found wrong is compared with what was told.
_DECLARED = frozenset({"missing", "extra"})
# Facts of their own, which no discrepancy and no turn of the state speaks for.
_BY_THEMSELVES = frozenset({"unreadable", "no-worker"})
RESTLESS = "answers and falls silent by turns"


def compared(known: Known, verdict: Verdict, found: Found) -> Verdict:
    """The verdict of a check beside what was told last: whether it is news, and whether it is news of another state."""
    kinds = frozenset(found) & (findings.DISCREPANT | _BY_THEMSELVES)
    flaps = flapping.follow(known.flaps, Turn(verdict.at, verdict.status, figures_of(verdict.counts), kinds))
    verdict = replace(verdict, flaps=flaps, last_flapping=_last_flapping(known, flaps, verdict))
    if flaps.since is None:
        return judged(known, verdict, found)
    told = judged(known, _shown(known, verdict), {**found, "flapping": []})
    return told if known.flaps.since != flaps.since else _hushed(known, verdict, told, kinds)


def judged(known: Known, verdict: Verdict, found: Found) -> Verdict:
    told = known.told
    moved = any(item.kind in _DECLARED for item in chain(verdict.opened, (done.item for done in verdict.closed)))
    turned = told is None or told.status != verdict.status or moved
    if told is not None and verdict.status != "stale" and not turned:
        before = {kind: ids for kind, ids in findings.kept(told).items() if kind in findings.DISCREPANT}
        turned = before != {k: findings.bounded_ids(found[k]) for k in findings.DISCREPANT - _DECLARED if k in found}
    missing = found.get("missing", [])
    # Where nothing was heard, what is no open item was taken from there, and with it what was said of it.
    heard = verdict.about if verdict.belief is not None else {**findings.about_kept(told), **verdict.about}
    about: Abouts = {**heard, "flapping": About(verdict.flaps.count)}
    named = findings.as_findings(found, told, verdict.at, about)
    return replace(
        verdict,
        findings=named,
        last_discrepancy=findings.last_discrepancy(told, verdict.status, missing, verdict.at),
        turned=turned,
        changed=turned or not _same(told, verdict) or not findings.same(named, told),
    )


def figures_of(counts: Mapping[str, int]) -> str:
    """Short enough to remember some: which figures these are."""
    return f"{crc32(json.dumps(sorted(counts.items())).encode()):08x}"


def _same(told: ReconciliationUpdate | None, verdict: Verdict) -> bool:
    if told is None:
        return False
    before = (tuple(told.counts_only or ()), tuple(told.counts_only_queues or ()), told.not_told or {})
    after = (verdict.counts_only, verdict.counts_only_queues, verdict.not_told)
    return (told.counts, told.reason, before) == (verdict.counts, verdict.reason, after)


def _last_flapping(known: Known, flaps: Flaps, verdict: Verdict) -> LastFlapping | None:
    if flaps.since is not None:
        return LastFlapping(since=flaps.since, count=flaps.count)
    before = known.flaps
    if before.since is not None:
        return LastFlapping(since=before.since, count=before.count, calm_at=verdict.at)
    return known.told.last_flapping if known.told else None


def _shown(known: Known, verdict: Verdict) -> Verdict:
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
            reason=_reason(told),
        )
    if verdict.status == "stale" and told is not None:
        return replace(verdict, status=worst, counts=dict(told.counts), reason=told.reason)
    return replace(verdict, status=worst)


def _reason(told: ReconciliationUpdate | None) -> str:
    return (told.reason if told and told.status == "stale" else None) or RESTLESS


def _hushed(known: Known, found: Verdict, shown: Verdict, kinds: frozenset[str]) -> Verdict:
    """Of a service that was said to flap: only what is new in itself, and figures that it has not shown before.

    Figures are not told at the very turn, with which they go up and down.
    """
    flaps, told = found.flaps, known.told
    new = (kinds & findings.DISCREPANT) - known.flaps.kinds or _opened(found) - known.named
    if new or (told is not None and flapping.is_worse(shown.status, told.status)):
        return replace(shown, flaps=flapping.note(flaps, figures_of(found.counts), kinds), turned=True, changed=True)
    figures = figures_of(found.counts)
    if found.belief is not None and (kinds - known.flaps.kinds or _queues(shown) != unserved_queues.named(told)):
        return replace(shown, flaps=flapping.note(flaps, figures, kinds), turned=False, changed=True)
    moved = shown.status != "stale" and found.status != "stale" and told is not None and told.counts != shown.counts
    turned = found.status != known.flaps.status
    if moved and not turned and figures not in flaps.figures:
        return replace(shown, flaps=flapping.note(flaps, figures), turned=False, changed=True)
    return replace(shown, turned=False, changed=False, hushed=moved or found.status != shown.status)


def _queues(verdict: Verdict) -> frozenset[str]:
    return frozenset(queue for one in verdict.findings for queue in one.queues or ())


def _opened(verdict: Verdict) -> set[ItemKey]:
    return {item.key for item in verdict.opened if item.kind in _DECLARED}

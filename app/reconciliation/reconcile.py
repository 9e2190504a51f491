"""From what was known and what was heard to a verdict. Pure: no clock, no database, no network.

A job is declared **missing** only where all of this holds:

1. it was unfinished when it was last seen, at A: only such jobs are in the known set;
2. a complete look, its states read in the order in which jobs flow, found it nowhere (`suspects`);
3. a finished job would still have been visible when the looks ended, or the service, asked for the id, does
   not know the job;
4. a second look found it nowhere either;
5. no command and no published event explains it;
6. the job's own setting does not let it vanish as soon as that: of such a job that is gone nothing is concluded.

Where 3 cannot be answered the job is **unaccounted**: shown, never a discrepancy. Where it may be answered
later (there are more look-ups than one observation makes, or the service did not answer one) it is *pending*:
it stays in the known set and is shown as unaccounted meanwhile. Where a bound cut the list that would show the job,
nothing is concluded from absence: it stays known, and once that list is whole again it was last seen before the cut.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import Literal

from app.reconciliation import change_detection, diff, extra_jobs, findings, loss_detection, unserved_queues
from app.reconciliation.diff import RetainedJobs
from app.reconciliation.findings import IdsByKind
from app.reconciliation.freshness import explain_wrong_age
from app.reconciliation.item_lifecycle import find_items_to_close, find_items_to_open, list_still_open
from app.reconciliation.list_bounds import ListBounds, update_cut_since
from app.reconciliation.types import (
    Breathe,
    CheckEvidence,
    ItemClosing,
    KnownState,
    Observation,
    ServiceVerdict,
    TrackedItem,
    iter_slices,
    no_pause,
)
from app.sources.protocol import Job

REWOUND_REASON = "went back in time: it reports an older state than Beacon has seen"

Judgement = Literal["left", "here", "hidden", "pending", "missing", "unaccounted"]


def is_rewound(known: KnownState, heard: Observation) -> bool:
    """Another instance with an older state answered: it was restored from a backup, or is the wrong one.

    It stays rewound until its own time is again where it was: then it can be compared once more.
    """
    look = heard.look
    if known.as_of is None or look.as_of is None or look.instance_id == known.instance_id:
        return False
    return look.as_of < known.as_of


def is_incomparable(known: KnownState, heard: Observation, evidence: CheckEvidence) -> bool:
    """Whether nothing that the look shows, or does not show, says anything of the jobs that are known."""
    return is_rewound(known, heard) or explain_wrong_age(heard, evidence) is not None


def find_absent_jobs(
    known: KnownState, heard: Observation, evidence: CheckEvidence, breathe: Breathe = no_pause
) -> list[str]:
    """Known jobs, and those that were published, which the look shows nowhere although no bound cut their lists."""
    absent = diff.find_unlisted(chain(known.jobs, known.announced_only_ids()), heard.look.listings, breathe)
    bounds = ListBounds(heard, evidence)
    if not bounds.is_cut:
        return absent
    left: list[str] = []
    for ids in iter_slices(absent):
        left += [job_id for job_id in ids if not bounds.may_hide(known.job(job_id).queue)]
        breathe()
    return left


def needs_lookup(evidence: CheckEvidence, job_id: str) -> bool:
    """Whether the service is asked what became of a job that neither look shows.

    Also where it would still be visible had it finished: a worker may hold it in its hands, in no list yet.
    """
    if evidence.finished_visible is None or evidence.second is None or job_id in evidence.explained:
        return False
    return evidence.second.find(job_id) is None


def reconcile(
    known: KnownState, heard: Observation, evidence: CheckEvidence, now: datetime, breathe: Breathe = no_pause
) -> ServiceVerdict:
    """The verdict on a look that was answered."""
    if is_rewound(known, heard):
        found = {**findings.find_loss(known.loss), "rewound": []}
        return _stale_verdict(known, found, heard.look.latency_ms, REWOUND_REASON, now)
    figures_at = None if evidence.fresh_for is None else heard.look.as_of
    other_time = explain_wrong_age(heard, evidence)
    if other_time is not None:
        return replace(judge_silence(known, heard.look.latency_ms, other_time, now), figures_at=figures_at)
    changes = diff.compare_listings(known, heard, breathe)
    rulings = _judge_absent_jobs(known, heard, evidence, changes.unlisted, breathe)
    extra = extra_jobs.update_extra_jobs(known, heard, now, breathe)
    kept = _collect_retained_jobs(known, evidence, rulings, breathe)
    loss = loss_detection.update_loss(known, heard, evidence, now)
    unserved = unserved_queues.update_unserved_queues(known, heard, evidence)
    job_diff = diff.build_job_diff(known, changes, kept, extra.marks, breathe)
    opened = [*find_items_to_open(known, rulings, now, breathe), *extra.opened]
    closed = find_items_to_close(known, heard, evidence, opened, now, breathe)
    still = list_still_open(known, opened, closed, breathe)
    found = {
        **findings.group_items(still, kept.pending, breathe),
        **findings.find_in_snapshot(heard.look, changes.twice),
        **findings.find_loss(loss),
        **unserved.found,
    }
    verdict = ServiceVerdict(
        status="discrepancy" if findings.is_discrepant(found) else "verified",
        at=now,
        checked_at=now,
        latency_ms=heard.look.latency_ms,
        counts=dict(heard.look.counts),
        details=findings.build_details(found, job_diff.size),
        reason=findings.build_reason(heard.look),
        contexts={**findings.describe_unreadable(heard.look), **findings.describe_loss(loss), **unserved.contexts},
        last_verified_at=known.last_verified_at if findings.is_discrepant(found) else now,
        counts_only=findings.list_cut_states(heard.look),
        counts_only_queues=findings.list_cut_queues(heard.look),
        not_told=heard.look.not_told,
        counts_as_of=heard.look.counts_as_of,
        cut_since=update_cut_since(known, heard),
        unserved_since=unserved.since,
        figures=loss_detection.count_figures(heard.look),
        loss=loss,
        job_diff=job_diff,
        opened=tuple(opened),
        closed=tuple(closed),
        figures_at=figures_at,
    )
    return change_detection.judge_check(known, verdict, found)


def judge_silence(
    known: KnownState, waited_ms: int, reason: str, now: datetime, silent_since: datetime | None = None
) -> ServiceVerdict:
    """The verdict on silence, or on figures of another time. What was known is kept; numbers are not repeated."""
    verdict = _stale_verdict(known, findings.find_loss(known.loss), waited_ms, reason, now)
    return replace(verdict, silent_since=silent_since)


def judge_acceptance(
    known: KnownState, items: Iterable[TrackedItem], present: int, now: datetime, *, with_loss: bool = False
) -> ServiceVerdict | None:
    """The verdict after an operator closed `items`, or a loss as well; None where nothing was ever told of the service.

    Nobody has looked: times, counts and latency stay those of the newest check. `present`: how many jobs are known.
    """
    last_published = known.last_published
    if last_published is None:
        return None
    closed = tuple(ItemClosing(item, "accepted") for item in items)
    found: IdsByKind = {
        **findings.group_items(list_still_open(known, (), closed)),
        **findings.published_ids(last_published),
    }
    if with_loss:
        found.pop("lost", None)
    is_stale, flaps = last_published.status == "stale", "flapping" in found
    discrepant = findings.is_discrepant(found) and not is_stale
    verdict = ServiceVerdict(
        # One that flaps is not verified because it looks fine at the moment.
        status=last_published.status if is_stale or flaps else "discrepancy" if discrepant else "verified",
        at=now,
        checked_at=last_published.checked_at,
        latency_ms=last_published.latency_ms,
        counts=dict(last_published.counts),
        details=findings.build_details(found, present) if discrepant else None,
        reason=last_published.reason,
        contexts=findings.published_contexts(last_published),
        last_verified_at=known.last_verified_at,
        last_flapping=last_published.last_flapping,
        counts_only=tuple(last_published.counts_only or ()),
        counts_only_queues=tuple(last_published.counts_only_queues or ()),
        not_told=last_published.not_told or {},
        counts_as_of=last_published.counts_as_of or {},
        flaps=known.flaps,
        closed=closed,
    )
    return change_detection.detect_change(known, verdict, found)


def _stale_verdict(known: KnownState, also: IdsByKind, waited_ms: int, reason: str, now: datetime) -> ServiceVerdict:
    """With what was found wrong before: nobody has said otherwise since."""
    found: IdsByKind = {
        **findings.group_items(known.items.values()),
        **findings.published_discrepancies(known.last_published),
        **also,
    }
    verdict = ServiceVerdict(
        status="stale",
        at=now,
        checked_at=now,
        latency_ms=waited_ms,
        counts={},
        reason=reason,
        contexts=findings.describe_loss(known.loss),
        last_verified_at=known.last_verified_at,
    )
    return change_detection.judge_check(known, verdict, found)


def _judge_absent_jobs(
    known: KnownState, heard: Observation, evidence: CheckEvidence, unlisted: Sequence[str], breathe: Breathe
) -> dict[str, Judgement]:
    """On what the look shows nowhere; `unlisted`: the known jobs that it does not show as unfinished."""
    absent = diff.find_unlisted(unlisted, diff.finished_listings(heard), breathe)
    absent += diff.find_unlisted(known.announced_only_ids(), heard.look.listings, breathe)
    bounds = ListBounds(heard, evidence)
    rulings: dict[str, Judgement] = {}
    for ids in iter_slices(absent):
        for job_id in ids:
            queue = known.job(job_id).queue if bounds.is_cut else None
            if bounds.may_hide(queue):
                rulings[job_id] = _judge_hidden_job(known, evidence, bounds, job_id)
            else:
                rulings[job_id] = _judge_job(known, heard, evidence, job_id)
        breathe()
    return rulings


def _judge_hidden_job(known: KnownState, evidence: CheckEvidence, bounds: ListBounds, job_id: str) -> Judgement:
    """Where only a list of ended jobs was cut, it is let go: it did not wait any more, and had somewhere to end."""
    if job_id in evidence.explained or job_id not in known.jobs:
        return "left"
    notice = known.notices.get(job_id)
    if notice is not None and not notice.is_alive:
        return "left"
    return "hidden" if bounds.unfinished.includes(known.jobs[job_id].queue) else "left"


def _judge_job(known: KnownState, heard: Observation, evidence: CheckEvidence, job_id: str) -> Judgement:
    second, fate = evidence.second, evidence.lookups.get(job_id)
    shown = second.find(job_id) if second else None
    if shown is not None:
        return "left" if shown[1] else "here"
    if fate is not None and fate.kind == "found":
        return "here"
    if job_id in evidence.explained or (fate is not None and fate.kind == "finished"):
        return "left"
    if second is None or ListBounds(second, evidence).may_hide(known.job(job_id).queue):
        return "pending"
    if fate is not None and fate.kind == "unknown":
        return "missing"
    return _judge_unlisted_job(known, heard, second, evidence, job_id)


def _judge_unlisted_job(
    known: KnownState, heard: Observation, second: Observation, evidence: CheckEvidence, job_id: str
) -> Judgement:
    """Of a job that neither look shows, and that the service itself says nothing of."""
    if _may_have_vanished(known, second, job_id):
        return "left"
    if _would_still_be_visible(known, second, evidence, job_id):
        return "missing"
    if known.last_listed_at(job_id) is not None:
        return "left"  # it may have ended, and vanished as it should, while a bound kept it out of the lists
    if evidence.finished_visible == "lookup":
        return "pending" if heard.finished_complete else "left"
    return "unaccounted"


def _may_have_vanished(known: KnownState, last: Observation, job_id: str) -> bool:
    """Whether the job, by its own setting, could have ended and vanished since it was seen: then nothing follows."""
    kept_s, seen = known.job(job_id).kept_s, known.seen_at(job_id)
    return kept_s is not None and (seen is None or (last.ended - seen).total_seconds() >= kept_s)


def _would_still_be_visible(known: KnownState, last: Observation, evidence: CheckEvidence, job_id: str) -> bool:
    """Whether the lists of this look would still show the job if it had finished right after it was seen."""
    visible, seen = evidence.finished_visible, known.seen_at(job_id)
    if seen is None or not isinstance(visible, int | float):
        return False
    return (last.ended - seen).total_seconds() < visible


def _collect_retained_jobs(
    known: KnownState, evidence: CheckEvidence, rulings: Mapping[str, Judgement], breathe: Breathe
) -> RetainedJobs:
    """The jobs that the look shows nowhere and that are known to be there, or may be."""
    here: list[Job] = []
    pending: list[Job] = []
    hidden: list[str] = []
    for part in iter_slices(rulings.items()):
        here += [_find_later_state(evidence, id_) or known.job(id_) for id_, ruling in part if ruling == "here"]
        pending += [known.job(id_) for id_, ruling in part if ruling == "pending"]
        hidden += [id_ for id_, ruling in part if ruling == "hidden"]
        breathe()
    return RetainedJobs(here, pending, hidden)


def _find_later_state(evidence: CheckEvidence, job_id: str) -> Job | None:
    shown = evidence.second.find(job_id) if evidence.second else None
    fate = evidence.lookups.get(job_id)
    return shown[0] if shown else fate.job if fate else None

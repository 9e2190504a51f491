"""Judges a service: from the known state, an observation and evidence to a verdict. Pure.

No clock, no database, no network. A job is declared **missing** only if all of these hold:

1. It was unfinished when it was last seen: only such jobs are known.
2. A complete snapshot, its states read in the order in which jobs flow, found it nowhere (`find_absent_jobs`).
3. A finished job would still have been visible at the end of the snapshots, or the service, asked for the id, does not
   know the job.
4. A second snapshot found it nowhere either.
5. No command and no published event explains it.
6. The job's own setting does not let it vanish that soon: nothing follows from the absence of such a job.

If 3 cannot be answered, the job is **unaccounted**: shown, but never a discrepancy. If it may be answered later (there
are more lookups than one check makes, or the service did not answer one) it is *pending*: it stays known and is shown
as unaccounted until then. If a list bound cut the list that would show the job, nothing follows from its absence: it
stays known, and once that list is complete again it counts as last seen before the cut.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import Literal

from app.reconciliation import change_detection, diff, extra_jobs, findings, loss_detection, unserved_queues
from app.reconciliation.diff import RetainedJobs
from app.reconciliation.figures_age import explain_wrong_age
from app.reconciliation.findings import IdsByKind
from app.reconciliation.item_lifecycle import find_items_to_close, find_items_to_open, list_still_open
from app.reconciliation.known_state import ItemClosing, KnownState, TrackedItem
from app.reconciliation.list_bounds import ListBounds, update_cut_since
from app.reconciliation.types import CheckEvidence, Observation, ServiceVerdict
from app.sources.protocol import Job

REWOUND_REASON = "was rewound: it reports an older state than Beacon has seen"

Judgement = Literal["left", "here", "hidden", "pending", "missing", "unaccounted"]


def is_rewound(known: KnownState, observation: Observation) -> bool:
    """True if another instance with an older state answered: one restored from a backup, or the wrong one.

    It stays rewound until its own time has caught up: then the two can be compared again.
    """
    look = observation.look
    if known.as_of is None or look.as_of is None or look.instance_id == known.instance_id:
        return False
    return look.as_of < known.as_of


def is_incomparable(known: KnownState, observation: Observation, evidence: CheckEvidence) -> bool:
    """True if the snapshot says nothing about the known jobs, neither by what it shows nor by what it lacks."""
    return is_rewound(known, observation) or explain_wrong_age(observation, evidence) is not None


def find_absent_jobs(known: KnownState, observation: Observation, evidence: CheckEvidence) -> list[str]:
    """Known or published jobs that the snapshot does not show, although no list bound hides them."""
    absent = diff.find_unlisted(chain(known.jobs, known.announced_only_ids()), observation.look.listings)
    bounds = ListBounds(observation, evidence)
    if not bounds.is_cut:
        return absent
    return [job_id for job_id in absent if not bounds.may_hide(known.job(job_id).queue)]


def needs_lookup(evidence: CheckEvidence, job_id: str) -> bool:
    """True if the service should be asked about a job that neither snapshot shows.

    Also if the job would still be visible after finishing: a worker may have taken it out of one list and not yet put
    it into another.
    """
    if evidence.finished_visible is None or evidence.second is None or job_id in evidence.explained:
        return False
    return evidence.second.find(job_id) is None


def reconcile(known: KnownState, observation: Observation, evidence: CheckEvidence, now: datetime) -> ServiceVerdict:
    """The verdict on a snapshot."""
    if is_rewound(known, observation):
        found = {**findings.find_loss(known.loss), "rewound": []}
        return _stale_verdict(known, found, observation.look.latency_ms, REWOUND_REASON, now)
    figures_at = None if evidence.fresh_for is None else observation.look.as_of
    other_time = explain_wrong_age(observation, evidence)
    if other_time is not None:
        return replace(judge_silence(known, observation.look.latency_ms, other_time, now), figures_at=figures_at)
    changes = diff.compare_listings(known, observation)
    rulings = _judge_absent_jobs(known, observation, evidence, changes.unlisted)
    extra = extra_jobs.update_extra_jobs(known, observation, now)
    kept = _collect_retained_jobs(known, evidence, rulings)
    loss = loss_detection.update_loss(known, observation, evidence, now)
    unserved = unserved_queues.update_unserved_queues(known, observation, evidence)
    job_diff = diff.build_job_diff(known, changes, kept, extra.marks)
    opened = [*find_items_to_open(known, rulings, now), *extra.opened]
    closed = find_items_to_close(known, observation, evidence, opened, now)
    still = list_still_open(known, opened, closed)
    found = {
        **findings.group_items(still, kept.pending),
        **findings.find_in_snapshot(observation.look, changes.twice),
        **findings.find_loss(loss),
        **unserved.found,
    }
    verdict = ServiceVerdict(
        status="discrepancy" if findings.is_discrepant(found) else "verified",
        at=now,
        checked_at=now,
        latency_ms=observation.look.latency_ms,
        counts=dict(observation.look.counts),
        details=findings.build_details(found, job_diff.size),
        reason=findings.build_reason(observation.look),
        contexts={
            **findings.describe_anomalies(observation.look),
            **findings.describe_unreadable(observation.look),
            **findings.describe_loss(loss),
            **unserved.contexts,
        },
        last_verified_at=known.last_verified_at if findings.is_discrepant(found) else now,
        counts_only=findings.list_cut_states(observation.look),
        counts_only_queues=findings.list_cut_queues(observation.look),
        not_told=observation.look.not_told,
        counts_as_of=observation.look.counts_as_of,
        cut_since=update_cut_since(known, observation),
        unserved_since=unserved.since,
        figures=loss_detection.count_figures(observation.look),
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
    """The verdict on silence, or on figures of another time. Known jobs are kept; counts are not repeated."""
    verdict = _stale_verdict(known, findings.find_loss(known.loss), waited_ms, reason, now)
    # A flapping service may answer again at any poll, and what it shows stays until it is calm.
    return replace(verdict, silent_since=None if verdict.flaps.since is not None else silent_since)


def judge_acceptance(
    known: KnownState, items: Iterable[TrackedItem], present: int, now: datetime, *, with_loss: bool = False
) -> ServiceVerdict | None:
    """The verdict after an operator closed `items`, and `with_loss` also the open loss.

    None if nothing was ever published of the service. There was no check: times, counts and latency stay those of the
    newest one. `present` is the number of known jobs.
    """
    last_published = known.last_published
    if last_published is None:
        return None
    closed = tuple(ItemClosing(item, "accepted") for item in items)
    found: IdsByKind = {
        **findings.group_items(list_still_open(known, (), closed)),
        **findings.read_published_ids(last_published),
    }
    if with_loss:
        found.pop("lost", None)
    is_stale, flaps = last_published.status == "stale", "flapping" in found
    discrepant = findings.is_discrepant(found) and not is_stale
    verdict = ServiceVerdict(
        # A flapping service is not verified just because it looks fine at the moment.
        status=last_published.status if is_stale or flaps else "discrepancy" if discrepant else "verified",
        at=now,
        checked_at=last_published.checked_at,
        latency_ms=last_published.latency_ms,
        counts=dict(last_published.counts),
        details=findings.build_details(found, present) if discrepant else None,
        reason=last_published.reason,
        contexts=findings.read_published_contexts(last_published),
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
    """Stale, with the findings and the list bounds from before: no answer has contradicted them since."""
    last_published = known.last_published
    found: IdsByKind = {
        **findings.group_items(known.items.values()),
        **findings.read_persisting_findings(last_published),
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
        counts_only=tuple((last_published and last_published.counts_only) or ()),
        counts_only_queues=tuple((last_published and last_published.counts_only_queues) or ()),
    )
    return change_detection.judge_check(known, verdict, found)


def _judge_absent_jobs(
    known: KnownState, observation: Observation, evidence: CheckEvidence, unlisted: Sequence[str]
) -> dict[str, Judgement]:
    """Judge every job that the snapshot shows nowhere.

    `unlisted` are the known jobs that it does not show as unfinished.
    """
    absent = diff.find_unlisted(unlisted, diff.select_finished(observation))
    absent += diff.find_unlisted(known.announced_only_ids(), observation.look.listings)
    bounds = ListBounds(observation, evidence)
    rulings: dict[str, Judgement] = {}
    for job_id in absent:
        queue = known.job(job_id).queue if bounds.is_cut else None
        if bounds.may_hide(queue):
            rulings[job_id] = _judge_hidden_job(known, evidence, bounds, job_id)
        else:
            rulings[job_id] = _judge_job(known, observation, evidence, job_id)
    return rulings


def _judge_hidden_job(known: KnownState, evidence: CheckEvidence, bounds: ListBounds, job_id: str) -> Judgement:
    """Judge a job that a list bound may hide.

    If only a list of ended jobs was cut, the job is dropped: it was no longer waiting, and may have ended in that list.
    """
    if job_id in evidence.explained or job_id not in known.jobs:
        return "left"
    notice = known.notices.get(job_id)
    if notice is not None and not notice.is_alive:
        return "left"
    return "hidden" if bounds.unfinished.includes(known.jobs[job_id].queue) else "left"


def _judge_job(known: KnownState, observation: Observation, evidence: CheckEvidence, job_id: str) -> Judgement:
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
    return _judge_unlisted_job(known, observation, second, evidence, job_id)


def _judge_unlisted_job(
    known: KnownState, observation: Observation, second: Observation, evidence: CheckEvidence, job_id: str
) -> Judgement:
    """Judge a job that neither snapshot shows, and of which the service itself says nothing."""
    if _may_have_vanished(known, second, job_id):
        return "left"
    if _would_still_be_visible(known, second, evidence, job_id):
        return "missing"
    if known.last_listed_at(job_id) is not None:
        return "left"  # it may have ended and vanished normally while a bound kept it out of the lists
    if evidence.finished_visible == "lookup":
        return "pending" if observation.finished_complete else "left"
    return "unaccounted"


def _may_have_vanished(known: KnownState, last: Observation, job_id: str) -> bool:
    """True if the job's own setting allowed it to end and vanish since it was seen."""
    kept_s, seen = known.job(job_id).kept_s, known.seen_at(job_id)
    return kept_s is not None and (seen is None or (last.ended - seen).total_seconds() >= kept_s)


def _would_still_be_visible(known: KnownState, last: Observation, evidence: CheckEvidence, job_id: str) -> bool:
    """True if this snapshot would still show the job, had it finished right after it was last seen."""
    visible, seen = evidence.finished_visible, known.seen_at(job_id)
    if seen is None or not isinstance(visible, int | float):
        return False
    return (last.ended - seen).total_seconds() < visible


def _collect_retained_jobs(
    known: KnownState, evidence: CheckEvidence, rulings: Mapping[str, Judgement]
) -> RetainedJobs:
    """The jobs that the snapshot shows nowhere and that still exist, or may exist."""
    judged = rulings.items()
    here = [_find_later_state(evidence, job_id) or known.job(job_id) for job_id, ruling in judged if ruling == "here"]
    pending = [known.job(job_id) for job_id, ruling in judged if ruling == "pending"]
    return RetainedJobs(here, pending, [job_id for job_id, ruling in judged if ruling == "hidden"])


def _find_later_state(evidence: CheckEvidence, job_id: str) -> Job | None:
    shown = evidence.second.find(job_id) if evidence.second else None
    fate = evidence.lookups.get(job_id)
    return shown[0] if shown else fate.job if fate else None

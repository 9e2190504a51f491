"""From what was known and what was heard to a verdict. Pure: no clock, no database, no network.

A job is declared **missing** only where all of this holds:

1. it was unfinished when it was last seen, at A: only such jobs are in the known set;
2. a complete look, its states read in the order in which jobs flow, found it nowhere (`suspects`);
3. a finished job would still have been visible when the looks ended, or the service, asked for the id, does
   not know the job;
4. a second look found it nowhere either;
5. no command and no published event explains it.

Where 3 cannot be answered the job is **unaccounted**: shown, never a discrepancy. Where it may be answered
later (there are more look-ups than one observation makes, or the service did not answer one) it is *pending*:
it stays in the known set and is shown as unaccounted meanwhile. Where a bound cut the lists nothing is
concluded from absence: the job is let go, counts only.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import chain
from typing import Literal

from app.reconciliation import extras, findings, news
from app.reconciliation.findings import Found
from app.reconciliation.items import closed_items, opened_items, still_open
from app.reconciliation.state import (
    Belief,
    Breathe,
    Closing,
    Evidence,
    Heard,
    Item,
    Known,
    Verdict,
    no_pause,
    slices,
)
from app.sources.base import Job

REWOUND = "went back in time: it reports an older state than Beacon has seen"

Ruling = Literal["left", "here", "pending", "missing", "unaccounted"]


def is_rewound(known: Known, heard: Heard) -> bool:
    """Another instance with an older state answered: it was restored from a backup, or is the wrong one.

    It stays rewound until its own time is again where it was: then it can be compared once more.
    """
    look = heard.look
    if known.as_of is None or look.as_of is None or look.instance_id == known.instance_id:
        return False
    return look.as_of < known.as_of


def can_judge(heard: Heard, evidence: Evidence) -> bool:
    """Whether absence from this look means anything. For finished jobs a look-up by id replaces the list."""
    return heard.unfinished_complete and (heard.finished_complete or evidence.finished_visible == "lookup")


def suspects(known: Known, heard: Heard, breathe: Breathe = no_pause) -> list[str]:
    """Known jobs, and those that were published, which the look shows nowhere."""
    absent: list[str] = []
    for part in slices(chain(known.jobs, known.heralded())):
        left = part
        for listing in heard.look.listings:
            jobs = listing.jobs
            left = [job_id for job_id in left if job_id not in jobs]
        absent += left
        breathe()
    return absent


def needs_look_up(evidence: Evidence, job_id: str) -> bool:
    """Whether the service is asked what became of a job that neither look shows.

    Also where it would still be visible had it finished: a worker may hold it in its hands, in no list yet.
    """
    if evidence.finished_visible is None or evidence.second is None or job_id in evidence.explained:
        return False
    return evidence.second.find(job_id) is None


def reconcile(known: Known, heard: Heard, evidence: Evidence, now: datetime, breathe: Breathe = no_pause) -> Verdict:
    """The verdict on a look that was answered."""
    if is_rewound(known, heard):
        found: Found = {**findings.of_items(known.items.values()), "rewound": []}
        return _stale(known, found, heard.look.latency_ms, REWOUND, now)
    rulings = _rulings(known, heard, evidence, breathe)
    jobs, twice = _unfinished(heard, breathe)
    extra = extras.follow(known, heard, now)
    belief = _belief(known, evidence, rulings, jobs, extra.marks, breathe)
    opened = [*opened_items(known, rulings, now, breathe), *extra.opened]
    closed = closed_items(known, heard, evidence, opened, now, breathe)
    pending = [job_id for job_id, ruling in rulings.items() if ruling == "pending"]
    found = {**findings.of_items(still_open(known, opened, closed), pending), **findings.of_look(heard.look, twice)}
    verdict = Verdict(
        status="discrepancy" if findings.is_discrepant(found) else "verified",
        at=now,
        checked_at=now,
        latency_ms=heard.look.latency_ms,
        counts=dict(heard.look.counts),
        details=findings.details_of(found, len(belief.jobs)),
        reason="; ".join(findings.count_mismatches(heard.look)) or None,
        last_verified_at=known.last_verified_at if findings.is_discrepant(found) else now,
        counts_only=findings.counts_only(heard.look),
        belief=belief,
        opened=tuple(opened),
        closed=tuple(closed),
    )
    return news.compared(known, verdict, found)


def stale(known: Known, waited_ms: int, reason: str, now: datetime) -> Verdict:
    """The verdict on silence. What was known is kept; numbers are not repeated."""
    return _stale(known, findings.of_items(known.items.values()), waited_ms, reason, now)


def accept(known: Known, items: Iterable[Item], present: int, now: datetime) -> Verdict | None:
    """The verdict after an operator closed `items`; None where nothing was ever told of the service.

    Nobody has looked: times, counts and latency stay those of the newest check. `present`: how many jobs are known.
    """
    told = known.told
    if told is None:
        return None
    closed = tuple(Closing(item, "accepted") for item in items)
    found: Found = {**findings.of_items(still_open(known, (), closed)), **findings.kept(told)}
    is_stale, flaps = told.status == "stale", "flapping" in found
    discrepant = findings.is_discrepant(found) and not is_stale
    verdict = Verdict(
        # One that flaps is not verified because it looks fine at the moment.
        status=told.status if is_stale or flaps else "discrepancy" if discrepant else "verified",
        at=now,
        checked_at=told.checked_at,
        latency_ms=told.latency_ms,
        counts=dict(told.counts),
        details=findings.details_of(found, present) if discrepant else None,
        reason=told.reason,
        last_verified_at=known.last_verified_at,
        last_flapping=told.last_flapping,
        counts_only=tuple(told.counts_only or ()),
        flaps=known.flaps,
        closed=closed,
    )
    return news.judged(known, verdict, found)


def _stale(known: Known, found: Found, waited_ms: int, reason: str, now: datetime) -> Verdict:
    verdict = Verdict(
        status="stale",
        at=now,
        checked_at=now,
        latency_ms=waited_ms,
        counts={},
        reason=reason,
        last_verified_at=known.last_verified_at,
    )
    return news.compared(known, verdict, found)


def _rulings(known: Known, heard: Heard, evidence: Evidence, breathe: Breathe) -> dict[str, Ruling]:
    absent = suspects(known, heard, breathe)
    if not can_judge(heard, evidence):
        return dict.fromkeys(absent, "left")
    rulings: dict[str, Ruling] = {}
    for ids in slices(absent):
        rulings.update((job_id, _judge(known, heard, evidence, job_id)) for job_id in ids)
        breathe()
    return rulings


def _judge(known: Known, heard: Heard, evidence: Evidence, job_id: str) -> Ruling:
    second, fate = evidence.second, evidence.fates.get(job_id)
    shown = second.find(job_id) if second else None
    if shown is not None:
        return "left" if shown[1] else "here"
    if fate is not None and fate.kind == "found":
        return "here"
    if job_id in evidence.explained or (fate is not None and fate.kind == "finished"):
        return "left"
    if second is None or not can_judge(second, evidence):
        return "pending"
    if (fate is not None and fate.kind == "unknown") or _still_visible(known, second, evidence, job_id):
        return "missing"
    if evidence.finished_visible == "lookup":
        return "pending" if heard.finished_complete else "left"
    return "unaccounted"


def _still_visible(known: Known, last: Heard, evidence: Evidence, job_id: str) -> bool:
    """Whether the lists of this look would still show the job if it had finished right after it was seen."""
    visible, seen = evidence.finished_visible, known.seen_at(job_id)
    if seen is None or not isinstance(visible, int | float):
        return False
    return (last.ended - seen).total_seconds() < visible


def _belief(
    known: Known,
    evidence: Evidence,
    rulings: Mapping[str, Ruling],
    jobs: dict[str, Job],
    marks: Mapping[str, int],
    breathe: Breathe,
) -> Belief:
    """`jobs`, the unfinished ones that the look shows, and those that are known to be there all the same."""
    unseen: dict[str, datetime] = {}
    for job_id, ruling in rulings.items():
        if ruling == "here":
            jobs[job_id] = _found_later(evidence, job_id) or known.job(job_id)
        elif ruling == "pending":
            jobs[job_id] = known.job(job_id)
            if (seen := known.seen_at(job_id)) is not None:
                unseen[job_id] = seen
    put = _changed(known, jobs, breathe)
    gone: list[str] = []
    for ids in slices(known.jobs):
        gone += [job_id for job_id in ids if job_id not in jobs]
        breathe()
    put += _remarked(known, jobs, unseen, marks)
    return Belief(jobs, unseen, tuple(put), tuple(gone), marks)


def _changed(known: Known, jobs: dict[str, Job], breathe: Breathe) -> list[Job]:
    """The jobs that are not as they were known. The others become the very objects that were: those are frozen."""
    changed: list[Job] = []
    for part in slices(jobs.items()):
        for job_id, job in part:
            before = known.jobs.get(job_id)
            if before == job:
                jobs[job_id] = before
            else:
                changed.append(job)
        breathe()
    return changed


def _remarked(
    known: Known, jobs: Mapping[str, Job], unseen: Mapping[str, datetime], marks: Mapping[str, int]
) -> list[Job]:
    """The same jobs as before, of which only changed when they were seen, or what was published of them."""
    moved = {job_id for job_id in {*unseen, *known.unseen} if known.unseen.get(job_id) != unseen.get(job_id)}
    moved |= {job_id for job_id in {*marks, *known.ended} if known.ended.get(job_id) != marks.get(job_id)}
    return [jobs[job_id] for job_id in moved if job_id in jobs and jobs[job_id] == known.jobs.get(job_id)]


def _unfinished(heard: Heard, breathe: Breathe) -> tuple[dict[str, Job], list[str]]:
    """The jobs as they were read last, and the ids that stand in two lists.

    A job that moved on while the lists were read counts where it arrived.
    """
    jobs: dict[str, Job] = {}
    met: set[str] = set()
    twice: list[str] = []
    for listing in heard.look.listings:
        for part in slices(listing.jobs.items()):
            again = [job_id for job_id, _ in part if job_id in met]
            twice += again
            met.update(job_id for job_id, _ in part)
            if not listing.finished:
                jobs.update(part)
            for job_id in again if listing.finished else ():
                jobs.pop(job_id, None)
            breathe()
    return jobs, twice


def _found_later(evidence: Evidence, job_id: str) -> Job | None:
    shown = evidence.second.find(job_id) if evidence.second else None
    fate = evidence.fates.get(job_id)
    return shown[0] if shown else fate.job if fate else None

"""Compares known jobs with observed ones and returns only the difference. Pure.

Every pass looks ids up in existing tables, so that a check that finds nothing new builds none.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, combinations

from app.reconciliation.known_state import KnownState
from app.reconciliation.types import JobDiff, Observation
from app.sources.protocol import Job, Listing


@dataclass(frozen=True, slots=True)
class RetainedJobs:
    """Known jobs that a snapshot shows nowhere.

    `here` were found later, `pending` are not resolved yet, `hidden` are in a list that a bound cut.
    """

    here: Sequence[Job]
    pending: Sequence[Job]
    hidden: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ListingChanges:
    """How the lists of a snapshot differ from the known jobs.

    `upserts` are unfinished jobs that are new or changed. `unlisted` are known jobs that the snapshot does not show as
    unfinished. `ended` are known jobs that it shows as unfinished and, further down, as finished. `twice` are ids in
    two lists.
    """

    upserts: Sequence[Job]
    unlisted: Sequence[str]
    ended: Sequence[str]
    twice: Collection[str]


def compare_listings(known: KnownState, observation: Observation) -> ListingChanges:
    twice = _find_duplicate_ids(observation)
    put = _find_upserts(known, observation, twice)
    unlisted = _find_not_unfinished(known, observation, put, twice)
    return ListingChanges(put, unlisted, _find_ended(known, observation, twice), twice)


def select_unfinished(observation: Observation) -> list[Listing]:
    return [listing for listing in observation.look.listings if not listing.finished]


def select_finished(observation: Observation) -> list[Listing]:
    return [listing for listing in observation.look.listings if listing.finished]


def find_unlisted(job_ids: Iterable[str], listings: Sequence[Listing]) -> list[str]:
    """The ids that none of the listings shows."""
    left: Iterable[str] = job_ids
    for listing in listings:
        jobs = listing.jobs
        left = [job_id for job_id in left if job_id not in jobs]
    return list(left)


def _find_duplicate_ids(observation: Observation) -> set[str]:
    """The ids that are in two listings."""
    twice: set[str] = set()
    for pair in combinations(observation.look.listings, 2):
        fewer, more = sorted((listing.jobs for listing in pair), key=len)
        twice.update(job_id for job_id in fewer if job_id in more)
    return twice


def _find_upserts(known: KnownState, observation: Observation, twice: Collection[str]) -> list[Job]:
    """The jobs that differ from the known ones. Equal jobs keep their existing objects.

    A job that moved while the lists were read counts in the list it arrived in.
    """
    before = known.jobs.get
    items = (item for listing in select_unfinished(observation) for item in listing.jobs.items())
    found = [job for job_id, job in items if before(job_id) != job]
    if not twice:
        return found
    last = [shown for job_id in twice if (shown := observation.find(job_id)) is not None]
    put = [job for job in found if job.id not in twice]
    return put + [job for job, ended in last if not ended and before(job.id) != job]


def _find_not_unfinished(
    known: KnownState, observation: Observation, put: Sequence[Job], twice: Collection[str]
) -> Sequence[str]:
    """The known jobs that the snapshot does not show as unfinished."""
    listings = select_unfinished(observation)
    # The common case needs no further pass: if the shown jobs are as many as the known and new ones, all are shown.
    if not twice and sum(len(one.jobs) for one in listings) == len(known.jobs) + _count_new_jobs(known, put):
        return ()
    return find_unlisted(known.jobs, listings)


def build_job_diff(known: KnownState, changes: ListingChanges, kept: RetainedJobs, marks: Mapping[str, int]) -> JobDiff:
    """The difference between the known jobs and those that the snapshot shows or that are retained."""
    retained = [*kept.here, *kept.pending]
    put = [*changes.upserts, *(job for job in retained if known.jobs.get(job.id) != job)]
    stay = {*(job.id for job in retained), *kept.hidden}
    gone = [job_id for job_id in chain(changes.unlisted, changes.ended) if job_id not in stay]
    size = len(known.jobs) - len(gone) + _count_new_jobs(known, put)
    unseen = _collect_unseen(known, kept)
    moved = _find_differing_ids(known.unseen, unseen) | _find_differing_ids(known.ended, marks)
    if moved:
        others = {*gone, *(job.id for job in put)}
        # Equal jobs whose row changes anyway: `seen_at` or `ended_id` differs.
        put += [known.jobs[job_id] for job_id in moved if job_id in known.jobs and job_id not in others]
    return JobDiff(known.jobs, unseen, tuple(put), tuple(gone), marks, size)


def _find_ended(known: KnownState, observation: Observation, twice: Collection[str]) -> list[str]:
    """Known jobs that were read as unfinished and then, further down, as finished."""
    listings = select_unfinished(observation)
    met = [job_id for job_id in twice if job_id in known.jobs and any(job_id in one.jobs for one in listings)]
    return [job_id for job_id in met if (last := observation.find(job_id)) is not None and last[1]]


def _count_new_jobs(known: KnownState, put: Sequence[Job]) -> int:
    return sum(job.id not in known.jobs for job in put)


def _collect_unseen(known: KnownState, kept: RetainedJobs) -> dict[str, datetime]:
    seen = ((job.id, known.seen_at(job.id)) for job in kept.pending)
    unseen = {job_id: at for job_id, at in seen if at is not None}
    return unseen | {job_id: known.unseen[job_id] for job_id in kept.hidden if job_id in known.unseen}


def _find_differing_ids(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, None]:
    """The ids whose values differ, or that only one side has; in table order."""
    return {job_id: None for job_id in chain(before, after) if before.get(job_id) != after.get(job_id)}

"""Compares known jobs with observed ones, in slices, and returns only the difference. Pure.

Every pass looks ids up in existing tables. A growing table is copied again and again: at a million jobs one copy blocks
the event loop for 50 ms.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, combinations

from app.reconciliation.known_state import KnownState
from app.reconciliation.types import JobDiff, Observation, Pause, iter_slices
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


def compare_listings(known: KnownState, observation: Observation, pause: Pause) -> ListingChanges:
    twice = _find_duplicate_ids(observation, pause)
    put = _find_upserts(known, observation, twice, pause)
    unlisted = _find_not_unfinished(known, observation, put, twice, pause)
    return ListingChanges(put, unlisted, _find_ended(known, observation, twice, pause), twice)


def select_unfinished(observation: Observation) -> list[Listing]:
    return [listing for listing in observation.look.listings if not listing.finished]


def select_finished(observation: Observation) -> list[Listing]:
    return [listing for listing in observation.look.listings if listing.finished]


def find_unlisted(job_ids: Iterable[str], listings: Sequence[Listing], pause: Pause) -> list[str]:
    """The ids that none of the listings shows."""
    found: list[str] = []
    for part in iter_slices(job_ids):
        left = part
        for listing in listings:
            jobs = listing.jobs
            left = [job_id for job_id in left if job_id not in jobs]
        found += left
        pause()
    return found


def _find_duplicate_ids(observation: Observation, pause: Pause) -> set[str]:
    """The ids that are in two listings."""
    twice: set[str] = set()
    for pair in combinations(observation.look.listings, 2):
        fewer, more = sorted((listing.jobs for listing in pair), key=len)
        for part in iter_slices(fewer):
            twice.update(job_id for job_id in part if job_id in more)
            pause()
    return twice


def _find_upserts(known: KnownState, observation: Observation, twice: Collection[str], pause: Pause) -> list[Job]:
    """The jobs that differ from the known ones. Equal jobs keep their existing objects, which the GC has frozen.

    A job that moved while the lists were read counts in the list it arrived in.
    """
    before = known.jobs.get
    found: list[Job] = []
    for listing in select_unfinished(observation):
        for part in iter_slices(listing.jobs.items()):
            found += [job for job_id, job in part if before(job_id) != job]
            pause()
    if not twice:
        return found
    put: list[Job] = []
    for jobs in iter_slices(found):
        put += [job for job in jobs if job.id not in twice]
        pause()
    for ids in iter_slices(twice):
        last = [shown for job_id in ids if (shown := observation.find(job_id)) is not None]
        put += [job for job, ended in last if not ended and before(job.id) != job]
        pause()
    return put


def _find_not_unfinished(
    known: KnownState, observation: Observation, put: Sequence[Job], twice: Collection[str], pause: Pause
) -> Sequence[str]:
    """The known jobs that the snapshot does not show as unfinished."""
    listings = select_unfinished(observation)
    # The common case needs no further pass: if the shown jobs are as many as the known and new ones, all are shown.
    if not twice and sum(len(one.jobs) for one in listings) == len(known.jobs) + _count_new_jobs(known, put, pause):
        return ()
    return find_unlisted(known.jobs, listings, pause)


def build_job_diff(
    known: KnownState,
    changes: ListingChanges,
    kept: RetainedJobs,
    marks: Mapping[str, int],
    pause: Pause,
) -> JobDiff:
    """The difference between the known jobs and those that the snapshot shows or that are retained."""
    put = list(changes.upserts)
    stay: set[str] = set()
    for jobs in iter_slices(chain(kept.here, kept.pending)):
        put += [job for job in jobs if known.jobs.get(job.id) != job]
        stay.update(job.id for job in jobs)
        pause()
    for ids in iter_slices(kept.hidden):
        stay.update(ids)
        pause()
    gone: list[str] = []
    for ids in iter_slices(chain(changes.unlisted, changes.ended)):
        gone += [job_id for job_id in ids if job_id not in stay]
        pause()
    size = len(known.jobs) - len(gone) + _count_new_jobs(known, put, pause)
    unseen = _collect_unseen(known, kept, pause)
    moved = _find_differing_ids(known.unseen, unseen, pause)
    moved.update(_find_differing_ids(known.ended, marks, pause))
    if moved:
        put += _find_jobs_to_rewrite(known, moved, chain(gone, [job.id for job in put]), pause)
    return JobDiff(known.jobs, unseen, tuple(put), tuple(gone), marks, size)


def _find_ended(known: KnownState, observation: Observation, twice: Collection[str], pause: Pause) -> list[str]:
    """Known jobs that were read as unfinished and then, further down, as finished."""
    listings = select_unfinished(observation)
    ended: list[str] = []
    for ids in iter_slices(twice):
        met = [job_id for job_id in ids if job_id in known.jobs and any(job_id in one.jobs for one in listings)]
        ended += [job_id for job_id in met if (last := observation.find(job_id)) is not None and last[1]]
        pause()
    return ended


def _count_new_jobs(known: KnownState, put: Sequence[Job], pause: Pause) -> int:
    fresh = 0
    for jobs in iter_slices(put):
        fresh += sum(job.id not in known.jobs for job in jobs)
        pause()
    return fresh


def _collect_unseen(known: KnownState, kept: RetainedJobs, pause: Pause) -> dict[str, datetime]:
    unseen: dict[str, datetime] = {}
    for jobs in iter_slices(kept.pending):
        seen = ((job.id, known.seen_at(job.id)) for job in jobs)
        unseen.update((job_id, at) for job_id, at in seen if at is not None)
        pause()
    for ids in iter_slices(kept.hidden if known.unseen else ()):
        unseen.update((job_id, known.unseen[job_id]) for job_id in ids if job_id in known.unseen)
        pause()
    return unseen


def _find_differing_ids(before: Mapping[str, object], after: Mapping[str, object], pause: Pause) -> dict[str, None]:
    """The ids whose values differ, or that only one side has; in table order."""
    moved: dict[str, None] = {}
    for ids in iter_slices(chain(before, after)):
        moved.update((job_id, None) for job_id in ids if before.get(job_id) != after.get(job_id))
        pause()
    return moved


def _find_jobs_to_rewrite(known: KnownState, moved: Collection[str], differ: Iterable[str], pause: Pause) -> list[Job]:
    """Equal jobs whose row changes anyway: `seen_at` or `ended_id` differs."""
    others: set[str] = set()
    for ids in iter_slices(differ):
        others.update(ids)
        pause()
    same: list[Job] = []
    for ids in iter_slices(moved):
        same += [known.jobs[job_id] for job_id in ids if job_id in known.jobs and job_id not in others]
        pause()
    return same

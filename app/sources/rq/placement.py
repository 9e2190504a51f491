"""Groups the jobs of an RQ snapshot by state, counts each once, and finds ids that are in two places. Pure.

Some ids are rightly in several places: a job that a worker has taken is briefly in both the intermediate list and the
started registry; a job that is enqueued again under the same id, or repeats, is still in the finished, failed or
canceled registry from its last run. It is counted in the furthest place in which it is unfinished.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from app.sources.protocol import NOTHING_LEFT_OUT, Job, LeftOut, Listing
from app.sources.rq.job_places import FINISHED, FLOW, JobPlace
from app.sources.rq.responses import split_into_parts
from app.sources.rq.rq_snapshot import RqSnapshot

# The state of an id that is in several places: the first of these wins.
_PRECEDENCE = ("started", "queued", "deferred", "scheduled", "finished", "failed", "canceled")


@dataclass(frozen=True, slots=True)
class PlacedJobs:
    """Jobs by state. `doubled`: ids in two places that exclude each other, or twice in the same one."""

    counts: dict[str, int]
    listings: tuple[Listing, ...]
    doubled: frozenset[str]


def place_jobs(
    snapshot: RqSnapshot, pause: Callable[[], None], lifetimes: Mapping[str, float | None] | None = None
) -> PlacedJobs:
    sorting = _Placer(lifetimes or {})
    for place in sorted(snapshot.ids, key=lambda place: (_PRECEDENCE.index(place.state), place.taken)):
        for part in split_into_parts(snapshot.ids[place]):
            sorting.put(place, part)
            pause()
    counted: Counter[str] = Counter(dict.fromkeys(FLOW, 0))
    for place, count in snapshot.counts.items():
        counted[place.state] += count
    # The server's counts minus entries known to be the same job in another place. Any remaining difference from the
    # listed ids, such as an id that is twice in one queue, is a discrepancy in the server's own data.
    counts = {state: counted[state] - sorting.elsewhere[state] for state in FLOW}
    cut = {state: _find_cut_queues(snapshot, state) for state in FLOW}
    listings = tuple(
        Listing(s, s in FINISHED, sorting.jobs[s], not cut[s], _sum_left_out(snapshot, s), cut[s]) for s in FLOW
    )
    return PlacedJobs(counts, listings, frozenset(sorting.doubled))


def list_expected_ids(snapshot: RqSnapshot) -> Iterable[tuple[JobPlace, Sequence[str]]]:
    """Yield the ids whose jobs must exist.

    Excludes ids that may have expired, and canceled ones: a canceled job expires with the TTL from its enqueueing while
    its registry entry stays.
    """
    for place, ids in snapshot.ids.items():
        expiring = snapshot.expiring.get(place, slice(0, 0))
        if place.state != "canceled":
            yield place, [*ids[: expiring.start], *ids[expiring.stop :]]


class _Placer:
    def __init__(self, lifetimes: Mapping[str, float | None]) -> None:
        self._kept_s = lifetimes
        self.jobs: dict[str, dict[str, Job]] = {state: {} for state in FLOW}
        self.elsewhere: Counter[str] = Counter()
        self.doubled: set[str] = set()
        self._where: dict[str, JobPlace] = {}

    def put(self, place: JobPlace, ids: Sequence[str]) -> None:
        where, jobs, state, queue = self._where, self.jobs[place.state], place.state, place.queue
        kept_s = self._kept_s
        for job_id in ids:
            if job_id in where:
                self._recheck(place, where[job_id], job_id)
            else:
                where[job_id] = place
                jobs[job_id] = Job(job_id, state, queue, None, kept_s.get(job_id))

    def _recheck(self, place: JobPlace, first: JobPlace, job_id: str) -> None:
        if place == first and place.state != "started":
            self.doubled.add(job_id)
            return
        self.elsewhere[place.state] += 1
        if place == first or place.state in FINISHED or (place.taken and first.state == "started"):
            return
        self.doubled.add(job_id)


def _sum_left_out(snapshot: RqSnapshot, state: str) -> LeftOut:
    left_out = (one for place, one in snapshot.left_out.items() if place.state == state)
    return reduce(LeftOut.merge, left_out, NOTHING_LEFT_OUT)


def _find_cut_queues(snapshot: RqSnapshot, state: str) -> frozenset[str]:
    return frozenset(p.queue for p in snapshot.counts if p.state == state and p not in snapshot.ids)

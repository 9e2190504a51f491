"""Everything that RQ keeps of its jobs, as it stood at one moment: read in one MULTI, without a single write.

RQ's own classes clean up, retry and delete while they count or list, so only the names of its keys are taken from it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import redis
from rq import Queue, Worker
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job as RqJob
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.scheduler import RQScheduler
from rq.suspension import WORKERS_SUSPENDED

from app.infra.concurrency import TimeSlice
from app.sources.protocol import LeftOut, SourceError
from app.sources.rq.responses import PART, Batch, JobIds, bytes_of, fields_of, members, number, score, seconds, text

# In the order in which jobs flow. What a worker has taken and not yet started counts as queued, as it does for RQ.
REGISTRIES = {
    "scheduled": ScheduledJobRegistry.key_template,
    "deferred": DeferredJobRegistry.key_template,
    "started": StartedJobRegistry.key_template,
    "finished": FinishedJobRegistry.key_template,
    "failed": FailedJobRegistry.key_template,
    "canceled": CanceledJobRegistry.key_template,
}
FLOW = ("scheduled", "deferred", "queued", "started", "finished", "failed", "canceled")
FINISHED = frozenset({"finished", "failed", "canceled"})
ENDED = FINISHED | {"stopped"}  # what a job says of itself; stopped ones stand among the failed
# Their entries outlive the jobs until RQ next cleans up: the score says when a job ends to exist.
EXPIRING = frozenset({"finished", "failed"})
# So much may the clocks of workers, which write the scores, differ from the server's, which lets keys expire.
CLOCKS_DIFFER_S = 60.0
# A scheduler looks every second, and holds its lock for a minute after its last sign of life.
OVERDUE_AFTER_S = 60.0
MAX_OVERDUE = 1_000
MAX_QUEUES = 1_000
MAX_WORKERS = 5_000
WORKER_FIELDS = ("state", "queues", "current_job", "last_heartbeat", "birth", "death")


class Place(NamedTuple):
    """One list or sorted set of job ids. `taken`: the list of what workers have taken from the queue."""

    state: str
    queue: str
    key: str
    is_list: bool = False
    taken: bool = False


class Started(NamedTuple):
    """One execution of a job; `until`: when RQ gives it up unless its worker says that it goes on."""

    job_id: str
    key: str
    until: float


class Overdue(NamedTuple):
    """Scheduled jobs of one queue that should have been queued: the first of them, since when the oldest waits, and
    whether a scheduler serves the queue."""

    job_ids: Sequence[str]
    since: float
    served: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`ids` lacks the places that the bound left out. `gone`: asked-for jobs that do not exist.

    `expiring`: which part of a place's ids may stand for jobs that have ended to exist, as they should. `left_out`:
    entries that are no ids Beacon can take.
    `workers` holds the fields of each, None where only its name is left. `overdue`: at most `MAX_OVERDUE` of a queue.
    `left_s`: for how long RQ still believes in each worker without another sign of life. `queues`: how many RQ knows,
    watched or not.
    """

    at: float
    counts: Mapping[Place, int]
    ids: Mapping[Place, Sequence[str]]
    expiring: Mapping[Place, slice]
    started: Sequence[Started]
    workers: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    suspended: bool = False
    gone: frozenset[str] = frozenset()
    overdue: Mapping[Place, Overdue] = field(default_factory=dict)
    left_out: Mapping[Place, LeftOut] = field(default_factory=dict)
    queues: int | None = None
    left_s: Mapping[str, float] = field(default_factory=dict)


def places_of(queue: str) -> list[Place]:
    key = Queue.redis_queue_namespace_prefix + queue
    lists = [
        Place("queued", queue, key, is_list=True),
        Place("queued", queue, IntermediateQueue.get_intermediate_queue_key(key), is_list=True, taken=True),
    ]
    return lists + [Place(state, queue, template.format(queue)) for state, template in REGISTRIES.items()]


def read_snapshot(client: redis.Redis, queues: Sequence[str], bound: int, ask: Iterable[str] = ()) -> Snapshot:
    """`queues`: which to read, all that RQ knows where it is empty. `ask`: jobs of which to say whether they exist."""
    first = Batch(client)
    first.add("TIME")
    first.add("SMEMBERS", Worker.redis_workers_keys)
    first.add("SMEMBERS", Queue.redis_queues_keys)
    now, workers, queue_keys = first.run()
    queue_keys, workers = members(queue_keys), members(workers)
    if len(queue_keys) > MAX_QUEUES or len(workers) > MAX_WORKERS:  # before any of them is looked at
        raise SourceError(f"has more than {MAX_QUEUES:,} queues or {MAX_WORKERS:,} workers")
    names = list(queues) or sorted(_name(key, Queue.redis_queue_namespace_prefix) for key in queue_keys)
    worker_keys = sorted(text(key) for key in workers)
    places = [place for name in names for place in places_of(name)]
    counts = Batch(client)
    for place in places:
        counts.add("LLEN" if place.is_list else "ZCARD", place.key)
    listed = _within(dict(zip(places, (number(n) for n in counts.run()), strict=True)), bound)
    made = _Moment(client, seconds(now), bound).read(places, listed, worker_keys, list(ask))
    return replace(made, queues=len(queue_keys))


class _Moment:
    """The MULTI: what is asked, in the order in which it is taken from the answers."""

    def __init__(self, client: redis.Redis, now: float, bound: int) -> None:
        self._batch = Batch(client, at_once=True)
        self._now, self._bound, self._pace = now, bound, TimeSlice()

    def read(self, places: list[Place], listed: set[Place], workers: list[str], ask: list[str]) -> Snapshot:
        batch = self._batch
        batch.add("TIME")
        batch.add("EXISTS", WORKERS_SUSPENDED)
        for place in places:
            self._ask_place(place, listed=place in listed)
        for key in workers:
            batch.add("HMGET", key, *WORKER_FIELDS)
            batch.add("PTTL", key)
        for job_id in ask:
            batch.add("EXISTS", RqJob.key_for(job_id))
        answers = iter(batch.run())
        at, suspended = seconds(next(answers)), bool(next(answers))
        counts: dict[Place, int] = {}
        ids: dict[Place, list[str]] = {}
        overdue: dict[Place, Overdue] = {}
        expiring: dict[Place, slice] = {}
        left_out: dict[Place, LeftOut] = {}
        started: list[Started] = []
        for place in places:
            counts[place] = number(next(answers))
            if place.state == "scheduled" and (late := _overdue(place, next(answers), next(answers))):
                overdue[place] = late
            if place not in listed:
                continue
            kept, ends = (number(next(answers)) if place.state in EXPIRING else 0 for _ in range(2))
            executions, found = self._jobs(place, next(answers))
            ids[place] = found.ids
            expiring[place] = found.places(kept, kept + ends)
            left_out[place] = found.told
            started += executions
        told, left_s = self._workers(workers, answers)
        # One that has grown since it was counted may be cut.
        still = {place for place in listed if counts[place] <= self._bound}
        return Snapshot(
            at=at,
            counts=counts,
            ids={place: found for place, found in ids.items() if place in still},
            expiring=expiring,
            started=started,
            workers=told,
            suspended=suspended,
            gone=frozenset(job_id for job_id in ask if not next(answers)),
            overdue=overdue,
            left_out=left_out,
            left_s=left_s,
        )

    def _ask_place(self, place: Place, *, listed: bool) -> None:
        batch, key = self._batch, place.key
        batch.add("LLEN" if place.is_list else "ZCARD", key)
        if place.state == "scheduled":
            due = self._now - OVERDUE_AFTER_S
            batch.add("ZRANGE", key, 0, due, "BYSCORE", "LIMIT", 0, MAX_OVERDUE, "WITHSCORES")
            batch.add("EXISTS", RQScheduler.get_locking_key(place.queue))
        if not listed:
            return
        if place.state in EXPIRING:
            # A sorted set comes in the order of its scores: first what is kept for ever, then what expires soonest.
            batch.add("ZCOUNT", key, "-inf", "(0")
            batch.add("ZCOUNT", key, 0, self._now + CLOCKS_DIFFER_S)
        scores = ["WITHSCORES"] if place.state == "started" else []
        batch.add("LRANGE" if place.is_list else "ZRANGE", key, 0, self._bound, *scores)

    def _workers(
        self, keys: Sequence[str], answers: Iterator[Any]
    ) -> tuple[dict[str, Sequence[str | None]], dict[str, float]]:
        """The fields of each, and for how many seconds its key is left where that has a time."""
        told: dict[str, Sequence[str | None]] = {}
        left_s: dict[str, float] = {}
        for name in map(_name_of_worker, keys):
            told[name] = fields_of(next(answers))
            if (left := number(next(answers))) >= 0:
                left_s[name] = left / 1_000
            self._pace()
        return told, left_s

    def _jobs(self, place: Place, entries: Any) -> tuple[list[Started], JobIds]:
        """Entries of the started ones are executions; of all others they are ids."""
        if place.state == "started":
            return _executions(place, entries)
        found = JobIds(place.key)
        for start in range(0, len(members(entries)), PART):
            part = entries[start : start + PART]
            entries[start : start + PART] = [None] * len(part)  # freed bit by bit: all of it at once takes 5 ms
            found.take(part)
            self._pace.pause()  # by their number: how many fit into a moment depends on the machine
        return [], found


def _overdue(place: Place, entries: Any, served: Any) -> Overdue | None:
    flat = members(entries)
    if not flat:
        return None
    late = JobIds(place.key)
    late.take(flat[::2])
    return Overdue(late.ids, score(flat[1]), bool(number(served)))


def _within(counts: Mapping[Place, int], bound: int) -> set[Place]:
    """The places that are listed: as many as hold no more than `bound` jobs together.

    What has not ended comes first, and what is small: one queue that is full hides none of the others.
    """
    listed: set[Place] = set()
    for place in sorted(counts, key=lambda place: (place.state in FINISHED, counts[place])):
        if counts[place] <= bound:  # one that is too large leaves room for those that follow
            bound -= counts[place]
            listed.add(place)
    return listed


def _executions(place: Place, entries: Any) -> tuple[list[Started], JobIds]:
    flat = members(entries)
    found, made = JobIds(place.key), list[Started]()
    for entry, until in zip(flat[::2], flat[1::2], strict=True):
        # `job:execution`; entries of RQ before 2.0 are jobs alone.
        before = len(found.ids)
        found.take([bytes_of(entry).rpartition(b":")[0] or entry])
        made += [Started(job_id, text(entry), score(until)) for job_id in found.ids[before:]]
    return made, found


def _name(key: Any, prefix: str) -> str:
    return text(key).removeprefix(prefix)


def _name_of_worker(key: str) -> str:
    return key.removeprefix(Worker.redis_worker_namespace_prefix)

"""Reads a snapshot of all RQ jobs in one MULTI, without any write.

RQ's own classes clean up, retry and delete while they count or list. So only its key names are used.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import redis
from rq import Queue, Worker
from rq.job import Job as RqJob
from rq.scheduler import RQScheduler
from rq.suspension import WORKERS_SUSPENDED

from app.infra.concurrency import TimeSlice
from app.sources.list_choice import choose_lists
from app.sources.protocol import NOTHING_LEFT_OUT, LeftOut, SourceError
from app.sources.rq.job_places import FINISHED, JobPlace, list_places
from app.sources.rq.responses import (
    IDS_PER_PART,
    Batch,
    JobIds,
    parse_fields,
    parse_int,
    parse_members,
    parse_names,
    parse_score,
    parse_text,
    parse_time,
    require_bytes,
)

# Entries of these registries outlive their jobs until RQ's next cleanup. The score says when the job expires.
EXPIRING = frozenset({"finished", "failed"})
# Maximum difference between the workers' clocks, which write the scores, and the server's, which expires the keys.
MAX_CLOCK_DIFFERENCE_S = 60.0
# A scheduler checks every second and holds its lock for a minute after its last heartbeat.
SCHEDULED_OVERDUE_AFTER_S = 60.0
MAX_OVERDUE = 1_000
MAX_QUEUES = 1_000
MAX_WORKERS = 5_000
WORKER_FIELDS = ("state", "queues", "current_job", "last_heartbeat", "birth", "death")


class JobExecution(NamedTuple):
    """One execution of a job. `until`: when RQ abandons it unless its worker sends another heartbeat."""

    job_id: str
    key: str
    until: float


class OverdueJobs(NamedTuple):
    """Overdue scheduled jobs of one queue: the first ids, each with the time when it was due, and how many there are.

    `since`: the oldest such time. `served`: whether a scheduler serves the queue.
    """

    jobs: Sequence[tuple[str, float]]
    number: int
    since: float
    served: bool


@dataclass(frozen=True, slots=True)
class RqSnapshot:
    """All RQ data of one moment.

    `ids` lacks the places that exceed the limit. `gone`: the checked jobs that do not exist. `expiring`: the slice of a
    place's ids whose jobs may rightly have expired. `left_out`: entries that Beacon cannot accept as ids. `workers`:
    the fields of each worker, None if only its name is left. `overdue`: at most `MAX_OVERDUE` are
    listed for each queue. `left_s`: how long RQ still considers each worker alive without another heartbeat. `queues`:
    the number of queues that RQ knows, watched or not. `names_left_out`: queues and workers whose names Beacon cannot
    accept.
    """

    at: float
    counts: Mapping[JobPlace, int]
    ids: Mapping[JobPlace, Sequence[str]]
    expiring: Mapping[JobPlace, slice]
    started: Sequence[JobExecution]
    workers: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    suspended: bool = False
    gone: frozenset[str] = frozenset()
    overdue: Mapping[JobPlace, OverdueJobs] = field(default_factory=dict)
    left_out: Mapping[JobPlace, LeftOut] = field(default_factory=dict)
    queues: int | None = None
    left_s: Mapping[str, float] = field(default_factory=dict)
    names_left_out: LeftOut = NOTHING_LEFT_OUT


def read_snapshot(client: redis.Redis, queues: Sequence[str], bound: int, ask: Iterable[str] = ()) -> RqSnapshot:
    """Read a snapshot of `queues`, or of all that RQ knows if empty. `ask`: jobs to check for existence."""
    first = Batch(client)
    first.add("TIME")
    first.add("SMEMBERS", Worker.redis_workers_keys)
    first.add("SMEMBERS", Queue.redis_queues_keys)
    now, workers, queue_keys = first.run()
    queue_keys, workers = parse_members(queue_keys), parse_members(workers)
    if len(queue_keys) > MAX_QUEUES or len(workers) > MAX_WORKERS:  # before any of them is read
        raise SourceError(f"has more than {MAX_QUEUES:,} queues or {MAX_WORKERS:,} workers")
    known, odd_queues = parse_names(queue_keys, Queue.redis_queues_keys)
    names = list(queues) or [key.removeprefix(Queue.redis_queue_namespace_prefix) for key in known]
    worker_keys, odd_workers = parse_names(workers, Worker.redis_workers_keys)
    places = [place for name in names for place in list_places(name)]
    counts = Batch(client)
    for place in places:
        counts.add("LLEN" if place.is_list else "ZCARD", place.key)
    numbers = dict(zip(places, map(parse_int, counts.run()), strict=True))
    listed = choose_lists(numbers, bound, lambda place: place.state in FINISHED)
    made = _SnapshotReader(client, parse_time(now), bound).read(places, listed, worker_keys, list(ask))
    return replace(made, queues=len(queue_keys), names_left_out=odd_queues.merge(odd_workers))


class _SnapshotReader:
    """Builds the MULTI and parses its answers in the same order."""

    def __init__(self, client: redis.Redis, now: float, bound: int) -> None:
        self._batch = Batch(client, at_once=True)
        self._now, self._bound, self._pace = now, bound, TimeSlice()

    def read(self, places: list[JobPlace], listed: set[JobPlace], workers: list[str], ask: list[str]) -> RqSnapshot:
        batch = self._batch
        batch.add("TIME")
        batch.add("EXISTS", WORKERS_SUSPENDED)
        for place in places:
            self._add_place_commands(place, listed=place in listed)
        for key in workers:
            batch.add("HMGET", key, *WORKER_FIELDS)
            batch.add("PTTL", key)
        for job_id in ask:
            batch.add("EXISTS", RqJob.key_for(job_id))
        answers = iter(batch.run())
        at, suspended = parse_time(next(answers)), bool(next(answers))
        counts: dict[JobPlace, int] = {}
        ids: dict[JobPlace, list[str]] = {}
        overdue: dict[JobPlace, OverdueJobs] = {}
        expiring: dict[JobPlace, slice] = {}
        left_out: dict[JobPlace, LeftOut] = {}
        started: list[JobExecution] = []
        for place in places:
            counts[place] = parse_int(next(answers))
            if place.state == "scheduled":
                late = _parse_overdue(place, next(answers), next(answers), next(answers))
                overdue.update({place: late} if late else {})
            if place not in listed:
                continue
            kept, ends = (parse_int(next(answers)) if place.state in EXPIRING else 0 for _ in range(2))
            executions, found = self._parse_jobs(place, next(answers))
            ids[place] = found.ids
            expiring[place] = found.slice_of(kept, kept + ends)
            left_out[place] = found.summary
            started += executions
        worker_fields, left_s = self._parse_workers(workers, answers)
        # A place that has grown since it was counted may be cut.
        still = {place for place in listed if counts[place] <= self._bound}
        return RqSnapshot(
            at=at,
            counts=counts,
            ids={place: found for place, found in ids.items() if place in still},
            expiring=expiring,
            started=started,
            workers=worker_fields,
            suspended=suspended,
            gone=frozenset(job_id for job_id in ask if not next(answers)),
            overdue=overdue,
            left_out=left_out,
            left_s=left_s,
        )

    def _add_place_commands(self, place: JobPlace, *, listed: bool) -> None:
        batch, key = self._batch, place.key
        batch.add("LLEN" if place.is_list else "ZCARD", key)
        if place.state == "scheduled":
            due = self._now - SCHEDULED_OVERDUE_AFTER_S
            batch.add("ZRANGE", key, 0, due, "BYSCORE", "LIMIT", 0, MAX_OVERDUE, "WITHSCORES")
            batch.add("ZCOUNT", key, 0, due)
            batch.add("EXISTS", RQScheduler.get_locking_key(place.queue))
        if not listed:
            return
        if place.state in EXPIRING:
            # Sorted sets are in score order: first entries that are kept forever, then those that expire soonest.
            batch.add("ZCOUNT", key, "-inf", "(0")
            batch.add("ZCOUNT", key, 0, self._now + MAX_CLOCK_DIFFERENCE_S)
        scores = ["WITHSCORES"] if place.state == "started" else []
        batch.add("LRANGE" if place.is_list else "ZRANGE", key, 0, self._bound, *scores)

    def _parse_workers(
        self, keys: Sequence[str], answers: Iterator[Any]
    ) -> tuple[dict[str, Sequence[str | None]], dict[str, float]]:
        """Return the fields of each worker, and the seconds until its key expires if it does."""
        worker_fields: dict[str, Sequence[str | None]] = {}
        left_s: dict[str, float] = {}
        for key in keys:
            name = key.removeprefix(Worker.redis_worker_namespace_prefix)
            worker_fields[name] = parse_fields(next(answers))
            if (left := parse_int(next(answers))) >= 0:
                left_s[name] = left / 1_000
            self._pace()
        return worker_fields, left_s

    def _parse_jobs(self, place: JobPlace, entries: Any) -> tuple[list[JobExecution], JobIds]:
        """Parse the entries of a place: executions in the started registry, ids in all others."""
        if place.state == "started":
            return _parse_executions(place, entries)
        found = JobIds(place.key)
        for start in range(0, len(parse_members(entries)), IDS_PER_PART):
            part = entries[start : start + IDS_PER_PART]
            # Freed in parts: freeing everything at once takes 5 ms.
            entries[start : start + IDS_PER_PART] = [None] * len(part)
            found.add_entries(part)
            self._pace.pause()  # after a fixed number of ids, because a time slice would depend on the machine
        return [], found


def _parse_overdue(place: JobPlace, entries: Any, number: Any, served: Any) -> OverdueJobs | None:
    flat = parse_members(entries)
    if not flat:
        return None
    late, due = JobIds(place.key), [parse_score(score) for score in flat[1::2]]
    late.add_entries(flat[::2])
    odd = frozenset(late.left_out)
    times = [at for index, at in enumerate(due) if index not in odd]
    jobs = list(zip(late.ids, times, strict=True))
    return OverdueJobs(jobs, parse_int(number), due[0], bool(parse_int(served)))


def _parse_executions(place: JobPlace, entries: Any) -> tuple[list[JobExecution], JobIds]:
    flat = parse_members(entries)
    found, made = JobIds(place.key), list[JobExecution]()
    for entry, until in zip(flat[::2], flat[1::2], strict=True):
        # `job:execution`; before RQ 2.0 an entry is only the job id.
        before = len(found.ids)
        found.add_entries([require_bytes(entry).rpartition(b":")[0] or entry])
        made += [JobExecution(job_id, parse_text(entry), parse_score(until)) for job_id in found.ids[before:]]
    return made, found

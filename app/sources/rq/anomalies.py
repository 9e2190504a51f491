"""Finds inconsistencies in RQ's data: ids without a job, jobs in two places, started jobs without a worker.

A busy queue changes between two commands. So a new finding is checked again before it is reported, with everything
read in one MULTI.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import redis
from rq import Worker
from rq.job import Job as RqJob

from app.infra.concurrency import TimeSlice
from app.sources.protocol import Anomaly, find_name_fault
from app.sources.rq.job_places import ENDED
from app.sources.rq.placement import PlacedJobs, list_expected_ids, place_jobs
from app.sources.rq.responses import Batch, parse_text, split_into_parts
from app.sources.rq.rq_snapshot import JobExecution, RqSnapshot, read_snapshot
from app.sources.rq.rq_workers import CURRENT, find_silent_workers, is_alive, parse_moment

CONFIRM_AFTER_S = 0.25
# How many new findings are rechecked in one poll. The others wait for the next; a page shows a few hundred.
MAX_RECHECKED = 2_000
IDS_PER_EXISTS = 500
_COMMANDS_PER_BATCH = 3  # redis-py serialises a batch without yielding to the event loop

Suspect = tuple[Literal["dangling", "duplicate", "orphaned"], str]


class AnomalyFinder:
    """Finds anomalies and remembers those it has reported, so that only new ones are checked twice."""

    def __init__(self, queues: Sequence[str], bound: int) -> None:
        self._queues, self._bound = queues, bound
        self._reported: set[Suspect] = set()

    def find(self, client: redis.Redis, snapshot: RqSnapshot, counted: PlacedJobs) -> tuple[Anomaly, ...]:
        found = _find_suspects(client, snapshot, counted, _find_ids_without_job(client, snapshot))
        fresh = set(sorted(found - self._reported)[:MAX_RECHECKED])
        reported = found & self._reported
        if fresh:
            time.sleep(CONFIRM_AFTER_S)
            reported |= fresh & self._recheck(client, [job_id for kind, job_id in fresh if kind == "dangling"])
        self._reported = reported
        kinds = sorted({kind for kind, _ in reported})
        return tuple(Anomaly(kind, tuple(sorted(i for k, i in reported if k == kind))) for kind in kinds)

    def _recheck(self, client: redis.Redis, dangling: list[str]) -> set[Suspect]:
        snapshot = read_snapshot(client, self._queues, self._bound, ask=dangling)
        still = {job_id for _, ids in list_expected_ids(snapshot) for job_id in ids} & snapshot.gone
        return _find_suspects(client, snapshot, place_jobs(snapshot, TimeSlice()), still)


def find_orphans(client: redis.Redis, snapshot: RqSnapshot) -> set[str]:
    """Return started jobs that no live worker is processing, judged by RQ's heartbeats.

    A worker whose heartbeat is late counts as gone before its key expires. An execution's score is the time at which
    RQ abandons it.
    """
    late = find_silent_workers(snapshot)
    live = {name for name, fields in snapshot.workers.items() if is_alive(fields) and name not in late}
    busy_with = {snapshot.workers[name][CURRENT] for name in live}
    left = [started for started in snapshot.started if started.job_id not in busy_with]
    given_up = {started.job_id for started in left if 0 <= started.until <= snapshot.at}
    alone = given_up | _find_jobs_without_worker(client, [one for one in left if one.job_id not in given_up], late)
    return alone - _filter_ended(client, sorted(alone))


def _find_suspects(
    client: redis.Redis, snapshot: RqSnapshot, counted: PlacedJobs, dangling: Iterable[str]
) -> set[Suspect]:
    found: set[Suspect] = {("dangling", job_id) for job_id in dangling}
    found |= {("duplicate", job_id) for job_id in counted.doubled}
    return found | {("orphaned", job_id) for job_id in find_orphans(client, snapshot)}


def _find_ids_without_job(client: redis.Redis, snapshot: RqSnapshot) -> set[str]:
    """Return ids whose job does not exist. Checks hundreds at once and halves only the chunks with missing jobs."""
    chunks: list[Sequence[str]] = []
    for _, ids in list_expected_ids(snapshot):
        chunks += split_into_parts(ids, IDS_PER_EXISTS)
    gone: set[str] = set()
    pace = TimeSlice()
    while chunks:
        batch = Batch(client)
        now, chunks = chunks[:_COMMANDS_PER_BATCH], chunks[_COMMANDS_PER_BATCH:]
        for some in now:
            batch.add("EXISTS", *map(RqJob.key_for, some))
            pace()
        for some, count in zip(now, batch.run(), strict=True):
            if count == 0 or (count < len(some) and len(some) == 1):
                gone.update(some)
            elif count < len(some):
                half = len(some) // 2
                chunks += [some[:half], some[half:]]
    return gone


def _find_jobs_without_worker(client: redis.Redis, left: Sequence[JobExecution], late: Collection[str]) -> set[str]:
    """Return jobs whose worker is gone, dead or late, or was started again under the same name since."""
    executions = Batch(client)
    for started in left:
        executions.add("HMGET", f"rq:execution:{started.key}", "worker_name", "created_at")
    known = [
        (started.job_id, name.decode(), created_at)
        for started, (name, created) in zip(left, executions.run(), strict=True)
        # Nothing follows for an execution of which this cannot be read.
        if name and not find_name_fault(name) and (created_at := _parse_seconds(created)) is not None
    ]
    births = read_births(client, [name for _, name, _ in known])
    return {
        job_id
        for (job_id, name, created), birth in zip(known, births, strict=True)
        if birth is None or name in late or birth > created
    }


def read_births(client: redis.Redis, names: Iterable[str]) -> list[float | None]:
    """Return when each worker was started; None for one that is gone or dead. 0 if it did not write a time."""
    batch = Batch(client)
    for name in names:
        batch.add("HMGET", Worker.redis_worker_namespace_prefix + name, "birth", "death")
    return [
        None if birth is None or death is not None else _to_seconds(parse_text(birth)) for birth, death in batch.run()
    ]


def _filter_ended(client: redis.Redis, job_ids: Sequence[str]) -> set[str]:
    """Return jobs that ended and left their execution behind: in RQ 2.12 if a dependent is added as a job finishes."""
    batch = Batch(client)
    for job_id in job_ids:
        batch.add("HGET", RqJob.key_for(job_id), "status")
    return {
        job_id for job_id, status in zip(job_ids, batch.run(), strict=True) if status and parse_text(status) in ENDED
    }


def _parse_seconds(value: bytes | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _to_seconds(written: str) -> float:
    at = parse_moment(written)
    return at.timestamp() if at else 0.0

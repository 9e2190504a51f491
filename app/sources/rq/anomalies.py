"""What is wrong with RQ's own data: ids without a job, jobs in two places, started jobs without a worker.

A busy queue changes between two commands, so what is met for the first time is looked at once more before it is told:
then all of it stands in one MULTI.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import redis
from rq import Worker
from rq.job import Job as RqJob

from app.infra.concurrency import TimeSlice
from app.sources.protocol import Oddity
from app.sources.rq.placement import Tally, tally, to_check
from app.sources.rq.responses import Batch, score, text
from app.sources.rq.rq_snapshot import ENDED, Snapshot, Started, read_snapshot
from app.sources.rq.rq_workers import CURRENT, is_alive, moment, silent

CONFIRM_AFTER_S = 0.25
# How many are looked at once more in one go. The others wait for the next look; a screen shows a few hundred.
MAX_FRESH = 2_000
_EXISTS_AT_ONCE = 500
_COMMANDS_AT_ONCE = 3  # redis-py packs what goes out together without a breath

Suspect = tuple[Literal["dangling", "duplicate", "orphaned"], str]


class Oddities:
    """Remembers what it has told, so that only what is new is looked at twice."""

    def __init__(self, queues: Sequence[str], bound: int) -> None:
        self._queues, self._bound = queues, bound
        self._told: set[Suspect] = set()

    def find(self, client: redis.Redis, snapshot: Snapshot, counted: Tally) -> tuple[Oddity, ...]:
        found = _suspects(client, snapshot, counted, _without_job(client, snapshot))
        fresh = set(sorted(found - self._told)[:MAX_FRESH])
        told = found & self._told
        if fresh:
            time.sleep(CONFIRM_AFTER_S)
            told |= fresh & self._again(client, [job_id for kind, job_id in fresh if kind == "dangling"])
        self._told = told
        kinds = sorted({kind for kind, _ in told})
        return tuple(Oddity(kind, tuple(sorted(i for k, i in told if k == kind))) for kind in kinds)

    def _again(self, client: redis.Redis, dangling: list[str]) -> set[Suspect]:
        snapshot = read_snapshot(client, self._queues, self._bound, ask=dangling)
        still = {job_id for _, ids in to_check(snapshot) for job_id in ids} & snapshot.gone
        return _suspects(client, snapshot, tally(snapshot, TimeSlice()), still)


def orphans(client: redis.Redis, snapshot: Snapshot) -> set[str]:
    """Started jobs that no living worker works on, by RQ's own signs of life.

    A worker whose sign of life is late is not waited for until its key expires; an execution's score is when RQ gives
    it up.
    """
    late = silent(snapshot)
    live = {name for name, fields in snapshot.workers.items() if is_alive(fields) and name not in late}
    busy_with = {snapshot.workers[name][CURRENT] for name in live}
    left = [started for started in snapshot.started if started.job_id not in busy_with]
    given_up = {started.job_id for started in left if 0 <= started.until <= snapshot.at}
    alone = given_up | _without_worker(client, [one for one in left if one.job_id not in given_up], late)
    return alone - _ended(client, sorted(alone))


def _suspects(client: redis.Redis, snapshot: Snapshot, counted: Tally, dangling: Iterable[str]) -> set[Suspect]:
    found: set[Suspect] = {("dangling", job_id) for job_id in dangling}
    found |= {("duplicate", job_id) for job_id in counted.doubled}
    return found | {("orphaned", job_id) for job_id in orphans(client, snapshot)}


def _without_job(client: redis.Redis, snapshot: Snapshot) -> set[str]:
    """Ids whose job does not exist, asked in hundreds: only where one is short are its halves asked."""
    asked: list[Sequence[str]] = []
    for _, ids in to_check(snapshot):
        asked += [ids[start : start + _EXISTS_AT_ONCE] for start in range(0, len(ids), _EXISTS_AT_ONCE)]
    gone: set[str] = set()
    pace = TimeSlice()
    while asked:
        batch = Batch(client)
        now, asked = asked[:_COMMANDS_AT_ONCE], asked[_COMMANDS_AT_ONCE:]
        for some in now:
            batch.add("EXISTS", *map(RqJob.key_for, some))
            pace()
        for some, count in zip(now, batch.run(), strict=True):
            if count == 0 or (count < len(some) and len(some) == 1):
                gone.update(some)
            elif count < len(some):
                half = len(some) // 2
                asked += [some[:half], some[half:]]
    return gone


def _without_worker(client: redis.Redis, left: Sequence[Started], late: Collection[str]) -> set[str]:
    """Executions whose worker is gone, has died, is not heard of, or was born again under its name since."""
    executions = Batch(client)
    for started in left:
        executions.add("HMGET", f"rq:execution:{started.key}", "worker_name", "created_at")
    known = [
        (started.job_id, text(name), score(created))
        for started, (name, created) in zip(left, executions.run() if left else [], strict=True)
        if name and created
    ]
    workers = Batch(client)
    for _, name, _ in known:
        workers.add("HMGET", Worker.redis_worker_namespace_prefix + name, "birth", "death")
    answers = workers.run() if known else []
    return {
        job_id
        for (job_id, name, created), (birth, death) in zip(known, answers, strict=True)
        if birth is None or death is not None or name in late or born(text(birth)) > created
    }


def _ended(client: redis.Redis, job_ids: Sequence[str]) -> set[str]:
    """Jobs that ended and left their execution behind: RQ 2.12 does where a dependent arrives while one finishes."""
    batch = Batch(client)
    for job_id in job_ids:
        batch.add("HGET", RqJob.key_for(job_id), "status")
    answers = batch.run() if job_ids else []
    return {job_id for job_id, status in zip(job_ids, answers, strict=True) if status and text(status) in ENDED}


def born(written: str) -> float:
    """RQ's way to write a moment, in seconds; 0 for anything else."""
    at = moment(written)
    return at.timestamp() if at else 0.0

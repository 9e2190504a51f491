"""Verifies a command's effect by reading RQ's data again: an answer proves only that a script ran."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import redis
from rq import Worker
from rq.job import Job as RqJob

from app.sources.protocol import Operation
from app.sources.rq.anomalies import parse_birth
from app.sources.rq.responses import Batch, parse_int, parse_text
from app.sources.rq.rq_snapshot import list_places
from app.sources.rq.rq_workers import parse_moment

# The time in the job is that of the host that sent the command; `asked_at` is the database's time.
MAX_CLOCK_DIFFERENCE = timedelta(seconds=2)
_IDS_PER_EXISTS = 500


def is_effect_visible(client: redis.Redis, operation: Operation, effect: Mapping[str, Any], asked_at: datetime) -> bool:
    match operation.action:
        case "retry-job":
            return _was_requeued(client, operation.target, asked_at - MAX_CLOCK_DIFFERENCE)
        case "promote-job":
            return _was_promoted(client, operation.target, effect, asked_at - MAX_CLOCK_DIFFERENCE)
        case "delete-job":
            return _are_gone(client, [operation.target])
        case "purge-queue":
            return _is_purged(client, operation.target, effect)
        case "restart-service":
            return _have_ended(client, _as_strings(effect.get("workers")), asked_at)


def _was_requeued(client: redis.Redis, job_id: str, since: datetime) -> bool:
    """True if the job is not failed any more, or has failed again since."""
    batch = Batch(client)
    batch.add("HMGET", RqJob.key_for(job_id), "status", "enqueued_at")
    status, enqueued = batch.run()[0]
    if status is None:
        return False
    at = parse_moment(parse_text(enqueued)) if enqueued else None
    return status != b"failed" or (at is not None and at >= since)


def _was_promoted(client: redis.Redis, job_id: str, effect: Mapping[str, Any], since: datetime) -> bool:
    """True if the job waits before the one that was first until then, or a worker has begun it since."""
    queue = list_places(str(effect.get("queue")))[0].key
    batch = Batch(client, at_once=True)
    batch.add("HGET", RqJob.key_for(job_id), "started_at")
    batch.add("LPOS", queue, job_id)
    batch.add("LPOS", queue, str(effect.get("passed", "")))
    started, place, passed = batch.run()
    at = parse_moment(parse_text(started)) if started else None
    if at is not None and at >= since:
        return True
    return place is not None and (passed is None or parse_int(place) < parse_int(passed))


def _are_gone(client: redis.Redis, job_ids: Sequence[str]) -> bool:
    batch = Batch(client)
    for start in range(0, len(job_ids), _IDS_PER_EXISTS):
        batch.add("EXISTS", *map(RqJob.key_for, job_ids[start : start + _IDS_PER_EXISTS]))
    return not any(map(parse_int, batch.run()))


def _is_purged(client: redis.Redis, queue: str, effect: Mapping[str, Any]) -> bool:
    """For a large purge no ids are stored: then the queue may contain only the jobs that the purge kept."""
    job_ids = _as_strings(effect.get("jobIds"))
    if job_ids:
        return _are_gone(client, job_ids)
    batch = Batch(client)
    batch.add("LLEN", list_places(queue)[0].key)
    return parse_int(batch.run()[0]) <= (effect.get("kept") or 0)


def _have_ended(client: redis.Redis, names: Sequence[str], since: datetime) -> bool:
    """True if each worker is gone or dead, or was started again under the same name since."""
    batch = Batch(client)
    for name in names:
        batch.add("HMGET", Worker.redis_worker_namespace_prefix + name, "birth", "death")
    return bool(names) and all(
        birth is None or death is not None or parse_birth(parse_text(birth)) > since.timestamp()
        for birth, death in batch.run()
    )


def _as_strings(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []

"""Verifies a command's effect by reading RQ's data again: an answer proves only that a script ran."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import redis
from rq.job import Job as RqJob

from app.sources.protocol import Operation
from app.sources.rq.anomalies import IDS_PER_EXISTS, read_births
from app.sources.rq.job_facts import read_job_fields
from app.sources.rq.job_places import list_places
from app.sources.rq.responses import Batch, parse_int, parse_text, split_into_parts
from app.sources.rq.rq_workers import parse_moment

# The time in the job is that of the host that sent the command; `asked_at` is the database's time.
MAX_CLOCK_DIFFERENCE = timedelta(seconds=2)


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
    status, enqueued = read_job_fields(client, job_id, "status", "enqueued_at")
    at = parse_moment(enqueued)
    return status is not None and (status != "failed" or (at is not None and at >= since))


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
    for part in split_into_parts(job_ids, IDS_PER_EXISTS):
        batch.add("EXISTS", *map(RqJob.key_for, part))
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
    births = read_births(client, names)
    return bool(names) and all(birth is None or birth > since.timestamp() for birth in births)


def _as_strings(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []

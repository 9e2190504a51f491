"""Single RQ jobs: their state, their details, and which are stuck. Never unpickles job data."""

import re
import zlib
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from rq.job import Job as RqJob
from rq.results import Result

from app.sources.protocol import Job, JobDetail, JobLookup, StuckJob
from app.sources.rq.job_places import ENDED, FINISHED, list_places
from app.sources.rq.responses import Batch
from app.sources.rq.rq_workers import parse_moment
from app.sources.tracebacks import extract_exception

_FIELDS = ("status", "origin", "description", "enqueued_at", "started_at", "ended_at", "worker_name")
MAX_TEXT_CHARS = 500
MAX_TRACEBACK_BYTES = 1_000_000
# Limit for a field of which people see one line.
MAX_FIELD_BYTES = 10_000
# RQ describes a job by its call unless told otherwise, and a call shows arguments.
_CALL = re.compile(r"^([\w.<>]+)\(.*", re.DOTALL)


def look_up_job(client: redis.Redis, job_id: str) -> JobLookup:
    status, origin = read_job_fields(client, job_id, "status", "origin")
    if status is None:
        return JobLookup("cannot-tell")
    state = _find_state(client, job_id, origin or "")
    if state in FINISHED or (state is None and status in ENDED):
        return JobLookup("finished", end_state=status if status in ENDED else state)
    return JobLookup("found", Job(job_id, state, origin)) if state else JobLookup("unknown")


def read_detail(client: redis.Redis, job_id: str) -> JobDetail | None:
    status, origin, description, enqueued, started, ended, worker = read_job_fields(client, job_id, *_FIELDS)
    if status is None:
        return None
    return JobDetail(
        job=Job(job_id, status[:40], (origin or "")[:MAX_TEXT_CHARS] or None),
        description=strip_arguments(description),
        enqueued_at=parse_moment(enqueued),
        started_at=parse_moment(started),
        ended_at=parse_moment(ended),
        worker=(worker or "")[:200] or None,
        error=_read_error(client, job_id) if status in ("failed", "stopped") else None,
    )


def find_stuck_jobs(client: redis.Redis, started: Sequence[Job], orphaned: set[str], now: float) -> list[StuckJob]:
    """Return started jobs that have no worker or run longer than their timeout."""
    batch = Batch(client)
    for job in started:
        batch.add("HMGET", RqJob.key_for(job.id), "started_at", "timeout")
    found: list[StuckJob] = []
    for job, (began, timeout) in zip(started, batch.run(), strict=True):
        since = parse_moment(_decode_field(began))
        if job.id in orphaned:
            found.append(StuckJob(job, "its worker is gone", since))
        elif since and (late := _overrun_s(since, _decode_field(timeout), now)):
            found.append(StuckJob(job, f"runs {late} s longer than it may", since))
    return found


def strip_arguments(description: str | None) -> str | None:
    return None if description is None else _CALL.sub(r"\1(…)", description)[:MAX_TEXT_CHARS]


def _find_state(client: redis.Redis, job_id: str, queue: str) -> str | None:
    """Return the state whose list or registry holds the job, all read at one moment."""
    places = sorted(list_places(queue), key=lambda place: place.state in FINISHED)
    batch = Batch(client, at_once=True)
    for place in places:
        if place.state == "started":
            # These entries include the execution's id, which only the job's own list knows.
            batch.add("ZCARD", f"rq:executions:{job_id}")
        else:
            batch.add("LPOS" if place.is_list else "ZSCORE", place.key, job_id)
    for place, answer in zip(places, batch.run(), strict=True):
        if answer if place.state == "started" else answer is not None:
            return place.state
    return None


def read_job_fields(client: redis.Redis, job_id: str, *names: str) -> list[str | None]:
    batch = Batch(client)
    batch.add("HMGET", RqJob.key_for(job_id), *names)
    return [_decode_field(value) for value in batch.run()[0]]


def _decode_field(value: Any) -> str | None:
    return value[:MAX_FIELD_BYTES].decode(errors="replace") if isinstance(value, bytes) else None


def _overrun_s(since: datetime, timeout: str | None, now: float) -> int:
    """Return by how many seconds the job exceeds its timeout; RQ writes -1 for no timeout."""
    if timeout is None or not timeout.isdecimal():
        return 0
    late = datetime.fromtimestamp(now, UTC) - since - timedelta(seconds=int(timeout[:9]))
    return max(0, int(late.total_seconds()))


def _read_error(client: redis.Redis, job_id: str) -> str | None:
    """Return the type and message of the latest exception; RQ before 1.12 stored it in the job."""
    batch = Batch(client)
    batch.add("XREVRANGE", Result.get_key(job_id), "+", "-", "COUNT", 1)  # type: ignore[no-untyped-call]
    batch.add("HGET", RqJob.key_for(job_id), "exc_info")
    newest, kept = batch.run()
    try:
        if newest:
            kept = b64decode(dict(newest[0][1]).get(b"exc_string", b"")) or kept
        text = zlib.decompressobj().decompress(kept or b"", MAX_TRACEBACK_BYTES)
    except (zlib.error, BadBase64, ValueError, TypeError):
        return None
    return extract_exception(text.decode(errors="replace"))

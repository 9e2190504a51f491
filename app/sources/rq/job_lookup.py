"""Single RQ jobs: what became of them, and which are stuck."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import redis
from rq.job import Job as RqJob

from app.sources.protocol import Job, JobLookup, StuckJob
from app.sources.rq.job_facts import decode_field, read_job_fields
from app.sources.rq.job_places import ENDED, FINISHED, list_places
from app.sources.rq.responses import Batch
from app.sources.rq.rq_workers import parse_moment


def look_up_job(client: redis.Redis, job_id: str) -> JobLookup:
    status, origin = read_job_fields(client, job_id, "status", "origin")
    if status is None:
        return JobLookup("cannot-tell")
    state = _find_state(client, job_id, origin or "")
    if state in FINISHED or (state is None and status in ENDED):
        return JobLookup("finished", end_state=status if status in ENDED else state)
    return JobLookup("found", Job(job_id, state, origin)) if state else JobLookup("unknown")


def find_stuck_jobs(client: redis.Redis, started: Sequence[Job], orphaned: set[str], now: float) -> list[StuckJob]:
    """Return started jobs that have no worker or run longer than their timeout."""
    batch = Batch(client)
    for job in started:
        batch.add("HMGET", RqJob.key_for(job.id), "started_at", "timeout")
    found: list[StuckJob] = []
    for job, (began, timeout) in zip(started, batch.run(), strict=True):
        since = parse_moment(decode_field(began))
        if job.id in orphaned:
            found.append(StuckJob(job, "its worker is gone", since))
        elif since and (late := _overrun_s(since, decode_field(timeout), now)):
            found.append(StuckJob(job, f"runs {late} s longer than it may", since))
    return found


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


def _overrun_s(since: datetime, timeout: str | None, now: float) -> int:
    """Return by how many seconds the job exceeds its timeout; RQ writes -1 for no timeout."""
    if timeout is None or not timeout.isdecimal():
        return 0
    late = datetime.fromtimestamp(now, UTC) - since - timedelta(seconds=int(timeout[:9]))
    return max(0, int(late.total_seconds()))

"""How long RQ keeps each job after its end, as the job itself says: with `result_ttl=0` it is gone at once."""

from collections.abc import Iterable, Mapping

import redis
from rq.job import Job as RqJob

from app.infra.concurrency import TimeSlice
from app.sources.rq.job_places import FINISHED
from app.sources.rq.responses import Batch, split_into_parts
from app.sources.rq.rq_snapshot import RqSnapshot

_FIELDS = ("status", "ttl", "result_ttl", "failure_ttl")
# How many jobs are read in one poll. If one of the others vanishes before its turn, nothing is concluded.
MAX_JOBS_READ = 5_000
_JOBS_PER_BATCH = 200  # redis-py serialises a batch without yielding to the event loop
GONE_AT_ONCE = 0.0


class JobTtlCache:
    """Reads the TTL of each unfinished job once and forgets it when the job is no longer listed."""

    def __init__(self) -> None:
        self._known: dict[str, float | None] = {}

    def update(self, client: redis.Redis, snapshot: RqSnapshot) -> Mapping[str, float | None]:
        """Return the seconds for every listed unfinished job; None for one that uses RQ's defaults."""
        pace = TimeSlice()
        before, now, fresh = self._known, dict[str, float | None](), list[str]()
        for place, ids in snapshot.ids.items():
            if place.state in FINISHED:
                continue
            for part in split_into_parts(ids):
                now.update((job_id, before[job_id]) for job_id in part if job_id in before)
                fresh += [job_id for job_id in part if job_id not in before]
                pace()
        now.update(_read_ttls(client, fresh[:MAX_JOBS_READ], pace))
        self._known = now
        later = fresh[MAX_JOBS_READ:]
        return {**now, **dict.fromkeys(later, GONE_AT_ONCE)} if later else now


def _read_ttls(client: redis.Redis, job_ids: list[str], pace: TimeSlice) -> Iterable[tuple[str, float | None]]:
    for some in split_into_parts(job_ids, _JOBS_PER_BATCH):
        batch = Batch(client)
        for job_id in some:
            batch.add("HMGET", RqJob.key_for(job_id), *_FIELDS)
        yield from zip(some, map(_parse_kept_s, batch.run()), strict=True)
        pace()


def _parse_kept_s(fields: list[bytes | None]) -> float | None:
    status, ttl, *after = fields
    # The job is gone already, or may expire while it waits: that cannot be distinguished from a loss.
    if status is None or _parse_seconds(ttl) is not None:
        return GONE_AT_ONCE
    return min((seconds for one in after if (seconds := _parse_seconds(one)) is not None), default=None)


def _parse_seconds(written: bytes | None) -> float | None:
    """Parse a TTL; RQ writes -1 for jobs that are kept forever."""
    text = (written or b"").decode(errors="replace")
    return float(text[:12]) if text.isdecimal() else None

"""For how long RQ keeps each job once it has ended, as the job itself says: one with `result_ttl=0` is gone at once."""

from collections.abc import Iterable, Mapping

import redis
from rq.job import Job as RqJob

from app.infra.concurrency import TimeSlice
from app.sources.rq.responses import Batch, parts
from app.sources.rq.rq_snapshot import FINISHED, Snapshot

_FIELDS = ("status", "ttl", "result_ttl", "failure_ttl")
# How many jobs are asked in one look; of the others nothing follows until they were.
MAX_ASKED = 5_000
_ASKED_AT_ONCE = 200  # redis-py packs what goes out together without a breath
GONE_AT_ONCE = 0.0


class Lifetimes:
    """Asks each unfinished job once, and forgets it with its last place."""

    def __init__(self) -> None:
        self._known: dict[str, float | None] = {}

    def follow(self, client: redis.Redis, snapshot: Snapshot) -> Mapping[str, float | None]:
        """Seconds for every unfinished job that is listed; None for one that leaves it to RQ's defaults."""
        pace = TimeSlice()
        before, now, fresh = self._known, dict[str, float | None](), list[str]()
        for place, ids in snapshot.ids.items():
            if place.state in FINISHED:
                continue
            for part in parts(ids):
                now.update((job_id, before[job_id]) for job_id in part if job_id in before)
                fresh += [job_id for job_id in part if job_id not in before]
                pace()
        now.update(_asked(client, fresh[:MAX_ASKED], pace))
        self._known = now
        later = fresh[MAX_ASKED:]
        return {**now, **dict.fromkeys(later, GONE_AT_ONCE)} if later else now


def _asked(client: redis.Redis, job_ids: list[str], pace: TimeSlice) -> Iterable[tuple[str, float | None]]:
    for start in range(0, len(job_ids), _ASKED_AT_ONCE):
        some = job_ids[start : start + _ASKED_AT_ONCE]
        batch = Batch(client)
        for job_id in some:
            batch.add("HMGET", RqJob.key_for(job_id), *_FIELDS)
        yield from zip(some, map(_kept_s, batch.run()), strict=True)
        pace()


def _kept_s(fields: list[bytes | None]) -> float | None:
    status, ttl, *after = fields
    # Gone by now, or it may vanish while it waits: nothing would tell that from a loss.
    if status is None or _seconds(ttl) is not None:
        return GONE_AT_ONCE
    return min((seconds for one in after if (seconds := _seconds(one)) is not None), default=None)


def _seconds(written: bytes | None) -> float | None:
    """RQ writes -1 for what is kept for ever."""
    text = (written or b"").decode(errors="replace")
    return float(text[:12]) if text.isdecimal() else None

"""Orders to RQ: which script, on which keys, and what its answer means."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rq.command import PUBSUB_CHANNEL_TEMPLATE
from rq.job import Job as RqJob
from rq.utils import utcformat

from app.infra.concurrency import TimeSlice
from app.sources.protocol import CannotTell, Done, Filter, Order, Selection, SourceError
from app.sources.redis.client import RedisServer
from app.sources.redis.redis_commands import Ledger, Told, before_asking
from app.sources.rq.effect_verification import is_seen
from app.sources.rq.job_details import fate_of
from app.sources.rq.lua_scripts import DELETE, PURGE, RESTART, RETRY
from app.sources.rq.placement import tally
from app.sources.rq.responses import Batch
from app.sources.rq.rq_snapshot import Place, Snapshot, places_of, read_snapshot
from app.sources.rq.rq_workers import QUEUES, is_alive, moment

# A script keeps the server from everything else, a few tenths of a second for so many jobs.
MAX_PURGED = 20_000
IDS_KEPT = 1_000
# Of the states, the times that tell since when a job is in it; of any other state it is when it was queued.
_SINCE = {"started": "started_at", "finished": "ended_at", "failed": "ended_at"}
_LEFT_FROM_LAST_TIME = ("finished", "failed", "canceled")
_SHUTDOWN = json.dumps({"command": "shutdown"})


class Acts:
    """For one thread at a time. `queues`: the watched ones, empty for all; no order reaches beyond them."""

    def __init__(self, server: RedisServer, queues: Sequence[str], bound: int) -> None:
        self._server, self._queues, self._bound = server, queues, bound
        self._ledger = Ledger(server)

    def act(self, order: Order) -> Done:
        match order.action:
            case "retry-job" | "delete-job":
                return self._of_job(order)
            case "purge-queue":
                return self._purge(order)
            case "restart-service":
                return self._restart(order)

    def settle(self, order: Order, asked_at: datetime) -> Done | None:
        found = self._ledger.find(order, asked_at)
        if found is None:
            return None
        done = _in_words(order, found)
        return self._as_it_is_now(order, done) if done.outcome == "done" and order.action == "retry-job" else done

    def shows(self, order: Order, asked_at: datetime) -> bool:
        """The kept answer names what was done; seen it is in RQ's own data."""
        found = self._ledger.find(order, asked_at)
        if found is None or _in_words(order, found).outcome != "done":
            return False
        with self._server.reading() as client:
            return is_seen(client, order, found.effect, asked_at)

    def _as_it_is_now(self, order: Order, done: Done) -> Done:
        """That it was queued is in the kept answer; where it has got to since then is in the job."""
        with self._server.reading() as client:
            fate = fate_of(client, order.target)
        state = fate.job.state if fate.job else fate.end_state or "gone"
        return replace(done, detail=f"It was queued again, and is {state} now.", effect={**done.effect, "state": state})

    def select(self, wanted: Filter, limit: int) -> Selection:
        """From one moment, as a look has it, so that it agrees with what is shown."""
        with self._server.reading() as client:
            snapshot = read_snapshot(client, self._queues, self._bound)
            listing = next((one for one in tally(snapshot, TimeSlice()).listings if one.state == wanted.state), None)
            if listing is None:
                raise SourceError(f"knows no state {wanted.state[:40]}")
            ids = [job.id for job in listing.jobs.values() if wanted.queue in (None, job.queue)]
            if wanted.older_than is not None:
                if listing.hides(wanted.queue):
                    raise CannotTell(f"has more than {self._bound:,} jobs {wanted.state}: their ages are not read")
                ids = _older(Batch(client), ids, wanted.state, wanted.older_than)
        total = _counted(snapshot, wanted) if listing.hides(wanted.queue) else len(ids)
        return Selection(datetime.fromtimestamp(snapshot.at, UTC), total, tuple(ids[:limit]))

    def _of_job(self, order: Order) -> Done:
        origin = self._origin(order)
        if origin is None:
            earlier = self._ledger.earlier(order)  # perhaps because it was deleted for this very order
            return _in_words(order, earlier) if earlier else _ABSENT
        if not self._watches(origin):
            return Done("refused", f"It belongs to the queue {origin[:200]}, which Beacon does not watch here.")
        queue, taken, *registries = places_of(origin)
        keys = [RqJob.key_for(order.target), queue.key]
        if order.action == "retry-job":
            keys += [_key(registries, "failed")]
            args = [order.target, origin, utcformat(datetime.now(UTC))]
            return _done(order, self._ledger.run(order, RETRY, keys, *args))
        keys += [taken.key, *(place.key for place in registries)]
        return _done(order, self._ledger.run(order, DELETE, keys, order.target, origin))

    def _purge(self, order: Order) -> Done:
        if not self._watches(order.target):
            return Done("refused", "Beacon does not watch this queue here.")
        queue, _, *registries = places_of(order.target)
        keys = [queue.key, *(_key(registries, state) for state in _LEFT_FROM_LAST_TIME)]
        at_most = MAX_PURGED + 1 if order.at_most is None else order.at_most
        return _done(order, self._ledger.run(order, PURGE, keys, at_most, MAX_PURGED, IDS_KEPT))

    def _restart(self, order: Order) -> Done:
        with before_asking(self._server, order) as client:
            workers = read_snapshot(client, self._queues, 0).workers
        names = [name for name, fields in workers.items() if is_alive(fields) and self._serves(fields)]
        if not names:
            return Done("refused", "The watched queues have no workers that could be told to end.")
        channels = [PUBSUB_CHANNEL_TEMPLATE % name for name in names]
        return _done(order, self._ledger.run(order, RESTART, [], _SHUTDOWN, *channels, *names))

    def _origin(self, order: Order) -> str | None:
        with before_asking(self._server, order) as client:
            batch = Batch(client)
            batch.add("HMGET", RqJob.key_for(order.target), "status", "origin")
            status, origin = batch.run()[0]
        return None if status is None else bytes(origin or b"").decode(errors="replace")

    def _serves(self, worker: Sequence[str | None]) -> bool:
        return any(self._watches(queue) for queue in (worker[QUEUES] or "").split(","))

    def _watches(self, queue: str) -> bool:
        return not self._queues or queue in self._queues


_ABSENT = Done("absent", "There is no such job.")
_WHY_NOT: Mapping[str, Callable[..., str]] = {
    "late": lambda: "It was not carried out in time, and will not be any more.",
    "moved": lambda: "It has moved to another queue just now.",
    "running": lambda: "A worker has it in its hands; this would neither stop it nor leave it whole.",
    "not-failed": lambda state: f"It is {state}; only a failed job can be retried.",
    "awaited": lambda count: f"Jobs that wait for it would wait for ever: {count}. Cancel or delete those first.",
    "grew": lambda count: f"It holds {int(count):,} jobs by now, more than were seen.",
    "too-many": lambda count: f"It holds {int(count):,} jobs; more than {MAX_PURGED:,} are not removed in one piece.",
}


def _done(order: Order, told: Told | Done) -> Done:
    return told if isinstance(told, Done) else _in_words(order, told)


def _in_words(order: Order, told: Told) -> Done:
    if told.word == "absent":
        return Done("absent", "There is no such queue.") if order.action == "purge-queue" else _ABSENT
    if told.word != "done":
        return Done("refused", _WHY_NOT[told.word](*told.about))
    if order.action == "restart-service" and not told.effect.get("told"):
        return Done("refused", "No worker heard it, so none will end.")
    return Done("done", _DONE[order.action](told.effect), told.effect)


def _purged(effect: Mapping[str, Any]) -> str:
    kept = effect.get("kept") or 0
    said = f"{effect.get('purged', 0):,} jobs were removed."
    return f"{said} {kept:,} were kept, since others wait for them or a worker has them." if kept else said


def _told_to_end(effect: Mapping[str, Any]) -> str:
    count = effect.get("told", 0)
    return (
        f"{count:,} worker{'' if count == 1 else 's'} will end after the job at hand; the supervisor starts new ones."
    )


_DONE: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "retry-job": lambda effect: f"It is queued in {effect.get('queue')}.",
    "delete-job": lambda effect: f"It was deleted; it was {effect.get('was')}.",
    "purge-queue": _purged,
    "restart-service": _told_to_end,
}


def _key(places: Sequence[Place], state: str) -> str:
    return next(place.key for place in places if place.state == state)


def _counted(snapshot: Snapshot, wanted: Filter) -> int:
    mine = (place for place in snapshot.counts if place.state == wanted.state)
    return sum(snapshot.counts[place] for place in mine if wanted.queue in (None, place.queue))


def _older(batch: Batch, ids: Sequence[str], state: str, than: datetime) -> list[str]:
    """Those that have been in that state since before `than`; one that does not tell is not older."""
    asked = _SINCE.get(state, "enqueued_at")
    for job_id in ids:
        batch.add("HMGET", RqJob.key_for(job_id), asked, "created_at")
    since = [_first(answer) for answer in batch.run()] if ids else []
    return [job_id for job_id, at in zip(ids, since, strict=True) if at is not None and at < than]


def _first(times: Sequence[Any]) -> datetime | None:
    return next((moment(time.decode(errors="replace")) for time in times if time), None)

"""Commands for RQ: which script runs on which keys, and what its answer means."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rq.command import PUBSUB_CHANNEL_TEMPLATE
from rq.job import Job as RqJob
from rq.utils import utcformat

from app.infra.concurrency import TimeSlice
from app.sources.protocol import JobFilter, Operation, OperationResult, Selection, SourceError, Unsupported
from app.sources.redis.client import RedisServer
from app.sources.redis.redis_commands import MAX_PURGED, ScriptResult, ScriptRunner, preliminary_read
from app.sources.rq.effect_verification import is_effect_visible
from app.sources.rq.job_lookup import look_up_job
from app.sources.rq.job_places import JobPlace, list_places
from app.sources.rq.lua_scripts import DELETE, PROMOTE, PURGE, RESTART, RETRY
from app.sources.rq.placement import place_jobs
from app.sources.rq.responses import Batch
from app.sources.rq.rq_snapshot import RqSnapshot, read_snapshot
from app.sources.rq.rq_workers import QUEUES, is_alive, parse_moment

# The field that says since when a job is in a state. For all other states it is the enqueue time.
_SINCE = {"started": "started_at", "finished": "ended_at", "failed": "ended_at"}
_REGISTRIES_OF_PAST_RUNS = ("finished", "failed", "canceled")
_SHUTDOWN = json.dumps({"command": "shutdown"})


class RqCommands:
    """Executes commands on RQ. `queues`: the watched ones, empty for all; commands never affect others.

    For one thread at a time.
    """

    def __init__(self, server: RedisServer, queues: Sequence[str], bound: int) -> None:
        self._server, self._queues, self._bound = server, queues, bound
        self._scripts = ScriptRunner(server, _describe_result)

    def execute(self, operation: Operation) -> OperationResult:
        match operation.action:
            case "retry-job" | "promote-job" | "delete-job":
                return self._change_job(operation)
            case "purge-queue":
                return self._purge(operation)
            case "restart-service":
                return self._restart(operation)

    def resolve_outcome(self, operation: Operation, asked_at: datetime) -> OperationResult | None:
        found = self._scripts.find_result(operation, asked_at)
        if found is None:
            return None
        done = _describe_result(operation, found)
        return (
            self._with_current_state(operation, done)
            if done.outcome == "done" and operation.action == "retry-job"
            else done
        )

    def verify_effect(self, operation: Operation, asked_at: datetime) -> bool:
        """Check RQ's data for the effect that the stored answer describes."""
        found = self._scripts.find_result(operation, asked_at)
        if found is None or _describe_result(operation, found).outcome != "done":
            return False
        with self._server.reading() as client:
            return is_effect_visible(client, operation, found.effect, asked_at)

    def _with_current_state(self, operation: Operation, done: OperationResult) -> OperationResult:
        """Add the job's current state: the stored answer only says that it was queued."""
        with self._server.reading() as client:
            fate = look_up_job(client, operation.target)
        state = fate.job.state if fate.job else fate.end_state or "gone"
        return replace(done, detail=f"It was queued again, and is {state} now.", effect={**done.effect, "state": state})

    def select(self, wanted: JobFilter, limit: int) -> Selection:
        """Select from one snapshot, as a poll does, so that the result agrees with what pages show."""
        with self._server.reading() as client:
            snapshot = read_snapshot(client, self._queues, self._bound)
            listing = next(
                (one for one in place_jobs(snapshot, TimeSlice()).listings if one.state == wanted.state), None
            )
            if listing is None:
                raise SourceError(f"has no state {wanted.state[:40]}")
            ids = [job.id for job in listing.jobs.values() if wanted.queue in (None, job.queue)]
            if wanted.older_than is not None:
                if listing.hides(wanted.queue):
                    raise Unsupported(f"has more than {self._bound:,} {wanted.state} jobs, so their ages are not read")
                ids = _filter_older(Batch(client), ids, wanted.state, wanted.older_than)
        total = _count_matching(snapshot, wanted) if listing.hides(wanted.queue) else len(ids)
        return Selection(datetime.fromtimestamp(snapshot.at, UTC), total, tuple(ids[:limit]))

    def _change_job(self, operation: Operation) -> OperationResult:
        origin = self._read_origin(operation)
        if origin is None:
            earlier = self._scripts.find_earlier_result(operation)  # this command itself may have deleted it
            return _describe_result(operation, earlier) if earlier else _ABSENT
        if not self._watches(origin):
            return OperationResult(
                "refused", f"The job belongs to the queue {origin[:200]}, which Beacon does not watch."
            )
        queue, taken, *registries = list_places(origin)
        keys = [RqJob.key_for(operation.target), queue.key]
        if operation.action == "retry-job":
            keys += [_find_key(registries, "failed")]
            args = [operation.target, origin, utcformat(datetime.now(UTC))]
            return self._scripts.run(operation, RETRY, keys, *args)
        if operation.action == "promote-job":
            return self._scripts.run(operation, PROMOTE, keys, operation.target, origin)
        keys += [taken.key, *(place.key for place in registries)]
        return self._scripts.run(operation, DELETE, keys, operation.target, origin)

    def _purge(self, operation: Operation) -> OperationResult:
        if not self._watches(operation.target):
            return OperationResult("refused", "Beacon does not watch this queue.")
        queue, _, *registries = list_places(operation.target)
        keys = [queue.key, *(_find_key(registries, state) for state in _REGISTRIES_OF_PAST_RUNS)]
        return self._scripts.purge(operation, PURGE, keys)

    def _restart(self, operation: Operation) -> OperationResult:
        with preliminary_read(self._server, operation) as client:
            workers = read_snapshot(client, self._queues, 0).workers
        names = [name for name, fields in workers.items() if is_alive(fields) and self._serves(fields)]
        if not names:
            return OperationResult("refused", "The watched queues have no live workers to shut down.")
        channels = [PUBSUB_CHANNEL_TEMPLATE % name for name in names]
        return self._scripts.run(operation, RESTART, [], _SHUTDOWN, *channels, *names)

    def _read_origin(self, operation: Operation) -> str | None:
        with preliminary_read(self._server, operation) as client:
            batch = Batch(client)
            batch.add("HMGET", RqJob.key_for(operation.target), "status", "origin")
            status, origin = batch.run()[0]
        return None if status is None else bytes(origin or b"").decode(errors="replace")

    def _serves(self, worker: Sequence[str | None]) -> bool:
        return any(self._watches(queue) for queue in (worker[QUEUES] or "").split(","))

    def _watches(self, queue: str) -> bool:
        return not self._queues or queue in self._queues


_ABSENT = OperationResult("absent", "There is no such job.")
_REFUSAL_TEXTS: Mapping[str, Callable[..., str]] = {
    "late": lambda: "The command did not start before its deadline and will not be executed.",
    "moved": lambda: "The job has just moved to another queue.",
    "running": lambda: "A worker is processing the job. This would not stop it and would break its data.",
    "not-failed": lambda state: f"The job is {state}; only a failed job can be retried.",
    "not-waiting": lambda state: f"The job does not wait in its queue. Its state is {state}.",
    "awaited": lambda count: f"Jobs that depend on it would wait forever: {count}. Cancel or delete those first.",
    "grew": lambda count: f"The queue now has {int(count):,} jobs, more than you saw.",
    "too-many": lambda count: f"The queue has {int(count):,} jobs; at most {MAX_PURGED:,} can be removed at once.",
}


def _describe_result(operation: Operation, result: ScriptResult) -> OperationResult:
    if result.word == "absent":
        return OperationResult("absent", "There is no such queue.") if operation.action == "purge-queue" else _ABSENT
    if result.word != "done":
        return OperationResult("refused", _REFUSAL_TEXTS[result.word](*result.about))
    if operation.action == "restart-service" and not result.effect.get("told"):
        return OperationResult("refused", "No worker received the shutdown command.")
    return OperationResult("done", _EFFECT_TEXTS[operation.action](result.effect), result.effect)


def _describe_purge(effect: Mapping[str, Any]) -> str:
    kept = effect.get("kept") or 0
    said = f"{effect.get('purged', 0):,} jobs were removed."
    return f"{said} {kept:,} were kept because other jobs depend on them or a worker has them." if kept else said


def _describe_restart(effect: Mapping[str, Any]) -> str:
    count = effect.get("told", 0)
    return (
        f"{count:,} worker{'' if count == 1 else 's'} will stop after the current job; the supervisor starts new ones."
    )


_EFFECT_TEXTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "retry-job": lambda effect: f"It is queued in {effect.get('queue')}.",
    "promote-job": lambda effect: f"It was moved to the front of {effect.get('queue')}.",
    "delete-job": lambda effect: f"It was deleted. Its state was {effect.get('was')}.",
    "purge-queue": _describe_purge,
    "restart-service": _describe_restart,
}


def _find_key(places: Sequence[JobPlace], state: str) -> str:
    return next(place.key for place in places if place.state == state)


def _count_matching(snapshot: RqSnapshot, wanted: JobFilter) -> int:
    mine = (place for place in snapshot.counts if place.state == wanted.state)
    return sum(snapshot.counts[place] for place in mine if wanted.queue in (None, place.queue))


def _filter_older(batch: Batch, ids: Sequence[str], state: str, than: datetime) -> list[str]:
    """Return the jobs that have been in this state since before `than`. A job without a time is left out."""
    asked = _SINCE.get(state, "enqueued_at")
    for job_id in ids:
        batch.add("HMGET", RqJob.key_for(job_id), asked, "created_at")
    since = map(_first_moment, batch.run())
    return [job_id for job_id, at in zip(ids, since, strict=True) if at is not None and at < than]


def _first_moment(times: Sequence[Any]) -> datetime | None:
    return next((parse_moment(time.decode(errors="replace")) for time in times if time), None)

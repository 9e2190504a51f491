"""Workers of RQ as their keys tell of them: which are alive, which should have been heard of again, which are gone.

RQ lets the key of a worker live for a minute longer than it will take until its next sign of life: half a minute while
a job runs, seven minutes while it waits for one. So the time that is left says whether that sign is late, by the
server's clock alone; RQ itself would notice the end of a killed worker only once the whole minute is over. Pure.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

from app.infra.clock import parse_utc
from app.sources.protocol import UnservedQueue, Worker
from app.sources.rq.rq_snapshot import MAX_QUEUES, WORKER_FIELDS, RqSnapshot

STATE, QUEUES, CURRENT, HEARTBEAT, _BIRTH, _DEATH = range(len(WORKER_FIELDS))
# What RQ adds to the time until the next sign of life, and by how much that may be late on a busy host.
TTL_MARGIN_S = 60.0
MAX_LATE_S = 15.0
SUSPENDED = "its workers are suspended"
_STATES: dict[str, Literal["busy", "suspended"]] = {"busy": "busy", "suspended": "suspended"}


def is_alive(fields: Sequence[str | None]) -> bool:
    return fields[_BIRTH] is not None and fields[_DEATH] is None


def find_silent_workers(snapshot: RqSnapshot) -> frozenset[str]:
    """Those that RQ still takes for alive, and whose next sign of life is late."""
    return frozenset(
        name
        for name, fields in snapshot.workers.items()
        if is_alive(fields) and snapshot.left_s.get(name, TTL_MARGIN_S) < TTL_MARGIN_S - MAX_LATE_S
    )


def list_workers(snapshot: RqSnapshot) -> tuple[Worker, ...]:
    late = find_silent_workers(snapshot)
    return tuple(_build_worker(snapshot, name, fields, late) for name, fields in snapshot.workers.items())


def find_unserved_queues(snapshot: RqSnapshot, workers: Iterable[Worker]) -> tuple[UnservedQueue, ...]:
    """Where jobs wait and no worker takes them: none is alive, or RQ was told to suspend them all."""
    living = {queue for worker in workers if worker.state not in ("silent", "dead") for queue in worker.queues}
    served = set[str]() if snapshot.suspended else living
    return tuple(
        UnservedQueue(place.queue, waiting, SUSPENDED if place.queue in living else "")
        for place, waiting in snapshot.counts.items()
        if place.state == "queued" and not place.taken and waiting and place.queue not in served
    )


def describe_health(snapshot: RqSnapshot) -> str:
    late = len(find_silent_workers(snapshot))
    alive = sum(map(is_alive, snapshot.workers.values())) - late
    said = [f"{alive:,} worker{'' if alive == 1 else 's'}" if alive else "no workers"]
    said += [f"{late:,} silent"] if late else []
    said += ["suspended"] if snapshot.suspended else []
    return ", ".join(said)


def parse_moment(written: str | None) -> datetime | None:
    try:
        return parse_utc(written or "")
    except ValueError:
        return None


def _build_worker(snapshot: RqSnapshot, name: str, fields: Sequence[str | None], late: frozenset[str]) -> Worker:
    state: Literal["busy", "idle", "suspended", "silent", "dead"] = _STATES.get(fields[STATE] or "", "idle")
    if snapshot.suspended and state == "idle":
        state = "suspended"
    if not is_alive(fields):
        state = "dead"
    elif name in late:
        state = "silent"
    queues = tuple(queue for queue in (fields[QUEUES] or "").split(",", MAX_QUEUES)[:MAX_QUEUES] if queue)
    seen = parse_moment(fields[HEARTBEAT])
    return Worker(name[:200], state, queues, fields[CURRENT], seen, _describe_heartbeat(snapshot, name, state, seen))


def _describe_heartbeat(snapshot: RqSnapshot, name: str, state: str, seen: datetime | None) -> str:
    """How long it may take until its end is known: said before, because then nothing else can."""
    left_s = snapshot.left_s.get(name)
    if left_s is None or state == "dead":
        return ""
    if state == "silent":
        return f"its sign of life is late; RQ itself waits {left_s:.0f} s more"
    every_s = 0.0 if seen is None else snapshot.at + left_s - TTL_MARGIN_S - seen.timestamp()
    if every_s <= 0:  # it has not said when, or by another clock
        return ""
    return f"heard of every {_format_seconds(every_s)}: were it killed, that shows within {_format_seconds(every_s + MAX_LATE_S)}"


def _format_seconds(seconds: float) -> str:
    """Of the two clocks, and of the way, little is left."""
    return f"{5 * round(seconds / 5):,} s"

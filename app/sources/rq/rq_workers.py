"""The state of RQ workers, judged by their keys: alive, silent (heartbeat late) or dead. Pure.

RQ gives a worker's key a TTL of one minute more than the time until the next heartbeat: half a minute during a job,
seven minutes while idle. So the remaining TTL shows whether the heartbeat is late, by the server's clock alone. RQ
itself would notice a killed worker only after that whole minute.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

from app.infra.clock import parse_utc
from app.sources.protocol import UnservedQueue, Worker
from app.sources.rq.rq_snapshot import MAX_QUEUES, WORKER_FIELDS, RqSnapshot

STATE, QUEUES, CURRENT, HEARTBEAT, _BIRTH, _DEATH = range(len(WORKER_FIELDS))
# What RQ adds to the time until the next heartbeat, and how late a heartbeat may be on a busy host.
TTL_MARGIN_S = 60.0
MAX_LATE_S = 15.0
SUSPENDED = "its workers are suspended"
_STATES: dict[str, Literal["busy", "suspended"]] = {"busy": "busy", "suspended": "suspended"}


def is_alive(fields: Sequence[str | None]) -> bool:
    return fields[_BIRTH] is not None and fields[_DEATH] is None


def find_silent_workers(snapshot: RqSnapshot) -> frozenset[str]:
    """Return the workers that RQ still considers alive but whose next heartbeat is late."""
    return frozenset(
        name
        for name, fields in snapshot.workers.items()
        if is_alive(fields) and snapshot.left_s.get(name, TTL_MARGIN_S) < TTL_MARGIN_S - MAX_LATE_S
    )


def list_workers(snapshot: RqSnapshot) -> tuple[Worker, ...]:
    late = find_silent_workers(snapshot)
    return tuple(_build_worker(snapshot, name, fields, late) for name, fields in snapshot.workers.items())


def find_unserved_queues(snapshot: RqSnapshot, workers: Iterable[Worker]) -> tuple[UnservedQueue, ...]:
    """Return queues with waiting jobs that no live worker serves, or all of them if RQ's workers are suspended."""
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
    """Return the worker's heartbeat interval and how long detecting its death can take."""
    left_s = snapshot.left_s.get(name)
    if left_s is None or state == "dead":
        return ""
    if state == "silent":
        return f"its heartbeat is late; RQ itself waits {left_s:.0f} s more"
    every_s = 0.0 if seen is None else snapshot.at + left_s - TTL_MARGIN_S - seen.timestamp()
    if every_s <= 0:  # no heartbeat time, or one by another clock
        return ""
    every, detected_within = _format_seconds(every_s), _format_seconds(every_s + MAX_LATE_S)
    return f"heartbeat every {every}; its death would be detected within {detected_within}"


def _format_seconds(seconds: float) -> str:
    """Round to 5 s, which hides differences of the two clocks and network delays."""
    return f"{5 * round(seconds / 5):,} s"

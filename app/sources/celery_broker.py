"""Every task that Redis holds of a Celery service at one moment: one `MULTI`, within a bound, without a write."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.offloop import paced
from app.sources.base import NOTHING_LEFT_OUT, LeftOut
from app.sources.celery_messages import (
    MAX_NAME_CHARS,
    Message,
    fault_of_queue,
    fault_of_unacked,
    keys_of,
    of_queue,
    of_unacked,
)

if TYPE_CHECKING:
    import redis

Turns = Counter[tuple[str, tuple[str, int, int]]]
# Longer messages are read anew each time: their bytes are not worth keeping.
KEPT_BYTES = 2_000
# Ways into the watched queues that are remembered: whoever invents one for each message is not followed for ever.
MAX_ROUTES = 10_000


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that a worker took and has not acknowledged. `at` is None where the index does not have it."""

    message: Message
    tag: str
    at: float | None


@dataclass(slots=True)
class Snapshot:
    """Tasks by id, where their messages are: `queued` or `taken`.

    `counts` is what Redis counts, less what is known to be a second message of a task or another service's.
    `left_out`, by state: messages among them that nobody can read. `index` are the tags of all messages taken.
    """

    instance_id: str | None
    as_of: datetime | None
    complete: bool = True
    queued: dict[str, tuple[str, Message]] = field(default_factory=dict)
    taken: dict[str, Taken] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    twice: tuple[str, ...] = ()
    index: frozenset[str] = frozenset()

    def __contains__(self, task_id: str) -> bool:
        return task_id in self.queued or task_id in self.taken


@dataclass(frozen=True, slots=True)
class _Raw:
    instance_id: str | None
    as_of: datetime | None
    lists: list[list[bytes]]
    unacked: dict[bytes, bytes]
    index: dict[bytes, float]


class Broker:
    """Knows the keys, and which routing keys lead to the watched queues: `unacked` holds every queue's messages."""

    def __init__(self, queues: Sequence[str], steps: Sequence[int], separator: str, prefix: str, bound: int) -> None:
        self._lists = [(queue, key) for queue in queues for key in keys_of(queue, tuple(steps), separator, prefix)]
        self._unacked, self._index = f"{prefix}unacked", f"{prefix}unacked_index"
        self._bound = bound
        self._routes = set(queues)
        # Messages as they were read before, by their own bytes: most are there again at the next look.
        self._read_before: dict[bytes, Message] = {}

    def keys(self, queue: str | None = None) -> list[str]:
        """The lists of one watched queue, or of all of them."""
        return [key for name, key in self._lists if queue in (None, name)]

    def leads_here(self, route: str) -> bool:
        return route in self._routes

    def snapshot(self, client: "redis.Redis") -> Snapshot:
        lengths, unacked = self._lengths(client)
        if max(sum(lengths), unacked) > self._bound:
            counts = {"queued": sum(lengths), "reserved": unacked}
            return Snapshot(*_server(client.info("server"), client.time()), complete=False, counts=counts)
        raw = self._read(client)
        made = Snapshot(raw.instance_id, raw.as_of)
        turns: Turns = Counter()
        known: dict[bytes, Message] = {}
        made.left_out["queued"] = self._sort_queued(raw, made, turns, known)
        made.left_out["reserved"] = self._sort_taken(raw, made, turns, known)
        self._read_before = known
        # A retry is published before the attempt that asked for it is acknowledged: the task counts where it is.
        made.queued = {task_id: queued for task_id, queued in made.queued.items() if task_id not in made.taken}
        listed = {"queued": len(made.queued), "reserved": len(made.taken)}
        made.counts = {state: number + made.left_out[state].number for state, number in listed.items()}
        made.twice = tuple(sorted({task_id for (task_id, _), count in turns.items() if count > 1}))
        made.index = frozenset(_text(tag) for tag in raw.index)
        return made

    def _message(
        self, entry: bytes, known: dict[bytes, Message], parse: Callable[[bytes], Message | None]
    ) -> Message | None:
        message = self._read_before.get(entry) or parse(entry)
        if message is not None and len(entry) <= KEPT_BYTES:
            known[entry] = message
        return message

    def _sort_queued(self, raw: _Raw, made: Snapshot, turns: Turns, known: dict[bytes, Message]) -> LeftOut:
        left_out = NOTHING_LEFT_OUT
        for (queue, key), entries in zip(self._lists, raw.lists, strict=True):
            for place, entry in enumerate(paced(entries), 1):
                message = self._message(entry, known, of_queue)
                if message is None:
                    first = left_out.first or f"entry {place:,} of {_shown(key)}: {fault_of_queue(entry)}"
                    left_out = LeftOut(left_out.number + 1, first)
                    continue
                turns[message.id, message.turn] += 1
                made.queued[message.id] = (queue, message)
                if len(self._routes) < MAX_ROUTES:
                    self._routes.add(message.route)
        return left_out

    def _sort_taken(self, raw: _Raw, made: Snapshot, turns: Turns, known: dict[bytes, Message]) -> LeftOut:
        left_out = NOTHING_LEFT_OUT
        for tag, entry in paced(raw.unacked.items()):
            message = self._message(entry, known, of_unacked)
            if message is None:
                first = left_out.first or f"entry {_shown(_text(tag))} of {self._unacked}: {fault_of_unacked(entry)}"
                left_out = LeftOut(left_out.number + 1, first)
            elif self.leads_here(message.route):
                turns[message.id, message.turn] += 1
                made.taken[message.id] = Taken(message, _text(tag), raw.index.get(tag))
        return left_out

    def _lengths(self, client: "redis.Redis") -> tuple[list[int], int]:
        with client.pipeline(transaction=False) as pipe:
            for _, key in self._lists:
                pipe.llen(key)
            pipe.hlen(self._unacked)
            *lengths, unacked = pipe.execute()
        return lengths, unacked

    def _read(self, client: "redis.Redis") -> _Raw:
        with client.pipeline(transaction=True) as pipe:
            pipe.info("server")
            pipe.time()
            for _, key in self._lists:
                pipe.lrange(key, 0, -1)
            pipe.hgetall(self._unacked)
            pipe.zrange(self._index, 0, -1, withscores=True)
            info, now, *lists, unacked, index = pipe.execute()
        return _Raw(*_server(info, now), lists, unacked, dict(index))


def _server(info: Any, now: Any) -> tuple[str | None, datetime]:
    seconds, microseconds = now
    run_id = info.get("run_id")
    return run_id if isinstance(run_id, str) else None, datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)


def _shown(name: str) -> str:
    """Of a key or a tag, which may hold any sign."""
    return "".join(sign if sign.isprintable() else " " for sign in name[:MAX_NAME_CHARS])


def _text(tag: bytes) -> str:
    return tag.decode(errors="replace")

"""Every task that Redis holds of a Celery service at one moment: one `MULTI`, within a bound, without a write."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.infra.concurrency import iterate_in_slices
from app.sources.celery.messages import (
    MAX_NAME_CHARS,
    Message,
    fault_of_queue,
    fault_of_unacked,
    keys_of,
    of_queue,
    of_unacked,
)
from app.sources.protocol import NOTHING_LEFT_OUT, LeftOut

if TYPE_CHECKING:
    import redis

Turns = Counter[tuple[str, tuple[str, int, int]]]
# Longer messages are read anew each time: their bytes are not worth keeping.
KEPT_BYTES = 2_000
# What the messages of one look may take together, and what one usually takes at least: its first stands for a queue.
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
USUAL_BYTES = 1_000
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
    `left_out`, by state: messages among them that nobody can read. `index` are the tags of all messages taken. `cut`:
    queues whose messages the bound left unread; `taken_cut`: those that workers took. `waiting`: how many messages each
    queue has, read or not.
    """

    instance_id: str | None
    as_of: datetime | None
    cut: frozenset[str] = frozenset()
    taken_cut: bool = False
    queued: dict[str, tuple[str, Message]] = field(default_factory=dict)
    taken: dict[str, Taken] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    twice: tuple[str, ...] = ()
    index: frozenset[str] = frozenset()
    waiting: Counter[str] = field(default_factory=Counter)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self.queued or task_id in self.taken

    @property
    def complete(self) -> bool:
        return not self.cut and not self.taken_cut

    def hides(self, queue: str | None) -> bool:
        """Whether a task of this queue may be there and not be listed."""
        return self.taken_cut or (bool(self.cut) and (queue is None or queue in self.cut))


@dataclass(frozen=True, slots=True)
class _Raw:
    instance_id: str | None
    as_of: datetime | None
    lists: list[list[bytes]]
    unacked: dict[bytes, bytes]
    index: dict[bytes, float]
    waiting: Counter[str]
    unread_queued: int = 0
    unread_taken: int = 0


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
        listed = self._listed(client)
        raw = self._read(client, listed)
        queues = frozenset(queue for queue, _ in self._lists)
        made = Snapshot(raw.instance_id, raw.as_of, queues - listed, None not in listed)
        turns: Turns = Counter()
        known: dict[bytes, Message] = {}
        made.left_out["queued"] = self._sort_queued(raw, made, turns, known)
        made.left_out["reserved"] = self._sort_taken(raw, made, turns, known)
        self._read_before = known
        # A retry is published before the attempt that asked for it is acknowledged: the task counts where it is.
        made.queued = {task_id: queued for task_id, queued in made.queued.items() if task_id not in made.taken}
        numbers = {"queued": len(made.queued) + raw.unread_queued, "reserved": len(made.taken) + raw.unread_taken}
        made.counts = {state: number + made.left_out[state].number for state, number in numbers.items()}
        made.twice = tuple(sorted({task_id for (task_id, _), count in turns.items() if count > 1}))
        made.index = frozenset(_text(tag) for tag in raw.index)
        made.waiting = raw.waiting
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
            for place, entry in enumerate(iterate_in_slices(entries), 1):
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
        for tag, entry in iterate_in_slices(raw.unacked.items()):
            message = self._message(entry, known, of_unacked)
            if message is None:
                first = left_out.first or f"entry {_shown(_text(tag))} of {self._unacked}: {fault_of_unacked(entry)}"
                left_out = LeftOut(left_out.number + 1, first)
            elif self.leads_here(message.route):
                turns[message.id, message.turn] += 1
                made.taken[message.id] = Taken(message, _text(tag), raw.index.get(tag))
        return left_out

    def _listed(self, client: "redis.Redis") -> frozenset[str | None]:
        """The queues whose messages are read, as many as the bound and the bytes allow; None: those that workers took.

        What workers took comes first, and then what is small: one queue that is full hides none of the others.
        """
        with client.pipeline(transaction=False) as pipe:
            pipe.hlen(self._unacked)
            for _, key in self._lists:
                pipe.llen(key)
                pipe.lrange(key, 0, 0)
            taken, *answers = pipe.execute()
        numbers, sizes = Counter[str | None]({None: taken}), Counter[str | None]({None: taken * USUAL_BYTES})
        for (queue, _), length, first in zip(self._lists, answers[::2], answers[1::2], strict=True):
            numbers[queue] += length
            sizes[queue] += length * max(USUAL_BYTES, *map(len, first)) if first else 0
        listed, jobs, room = set[str | None](), self._bound, MAX_MESSAGE_BYTES
        for one in sorted(numbers, key=lambda one: (one is not None, numbers[one])):
            if numbers[one] <= jobs and sizes[one] <= room:
                listed.add(one)
                jobs, room = jobs - numbers[one], room - sizes[one]
        return frozenset(listed)

    def _read(self, client: "redis.Redis", listed: Collection[str | None]) -> _Raw:
        with client.pipeline(transaction=True) as pipe:
            pipe.info("server")
            pipe.time()
            for queue, key in self._lists:
                pipe.lrange(key, 0, -1) if queue in listed else pipe.llen(key)
            pipe.hgetall(self._unacked) if None in listed else pipe.hlen(self._unacked)
            pipe.zrange(self._index, 0, -1, withscores=True) if None in listed else pipe.zcard(self._index)
            info, now, *lists, unacked, index = pipe.execute()
        read = [found if isinstance(found, list) else [] for found in lists]
        unread = sum(found for found in lists if isinstance(found, int))
        waiting = Counter[str]()
        for (queue, _), found in zip(self._lists, lists, strict=True):
            waiting[queue] += found if isinstance(found, int) else len(found)
        if None not in listed:
            return _Raw(*_server(info, now), read, {}, {}, waiting, unread, unacked)
        return _Raw(*_server(info, now), read, unacked, dict(index), waiting, unread)


def _server(info: Any, now: Any) -> tuple[str | None, datetime]:
    seconds, microseconds = now
    run_id = info.get("run_id")
    return run_id if isinstance(run_id, str) else None, datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)


def _shown(name: str) -> str:
    """Of a key or a tag, which may hold any sign."""
    return "".join(sign if sign.isprintable() else " " for sign in name[:MAX_NAME_CHARS])


def _text(tag: bytes) -> str:
    return tag.decode(errors="replace")

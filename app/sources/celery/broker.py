"""Reads all tasks of a Celery service from its Redis broker: in one `MULTI`, within a limit, without any write."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import redis

from app.infra.concurrency import iterate_in_slices
from app.sources.celery.messages import (
    MAX_NAME_CHARS,
    TaskMessage,
    list_queue_keys,
    parse_queued,
    parse_unacked,
)
from app.sources.protocol import NOTHING_LEFT_OUT, LeftOut

MessageTurns = Counter[tuple[str, tuple[str, int, int]]]
# Longer messages are parsed again in each poll, because caching their bytes costs too much memory.
MAX_CACHED_MESSAGE_BYTES = 2_000
# Limit on all messages of one poll, and the least size assumed for one. A queue's first message stands for all.
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
USUAL_MESSAGE_BYTES = 1_000
# Limit on remembered routing keys of the watched queues, in case a producer uses a new one for each message.
MAX_ROUTES = 10_000


@dataclass(frozen=True, slots=True)
class TakenMessage:
    """A message that a worker took and has not acknowledged. `at` is None if it is not in the index."""

    message: TaskMessage
    tag: str
    at: float | None


@dataclass(slots=True)
class BrokerSnapshot:
    """Tasks by id, grouped by where their messages are: `queued` or `taken`.

    `counts`: Redis's counts, without second messages of a task and messages of other services. `left_out`, by state:
    the unreadable messages among them. `index`: the tags of all taken messages. `cut`: queues whose messages were not
    read because of the limit; `taken_cut`: the same for messages that workers took. `waiting`: how many messages each
    queue has, read or not. `bindings`: how many queues are bound to an exchange of their own name, as by
    default.
    """

    instance_id: str | None
    as_of: datetime | None
    cut: frozenset[str] = frozenset()
    taken_cut: bool = False
    queued: dict[str, tuple[str, TaskMessage]] = field(default_factory=dict)
    taken: dict[str, TakenMessage] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    twice: tuple[str, ...] = ()
    index: frozenset[str] = frozenset()
    waiting: Counter[str] = field(default_factory=Counter)
    bindings: int = 0

    def __contains__(self, task_id: str) -> bool:
        return task_id in self.queued or task_id in self.taken

    @property
    def is_complete(self) -> bool:
        return not self.cut and not self.taken_cut

    def hides(self, queue: str | None) -> bool:
        """True if a task of this queue may be there without being listed."""
        return self.taken_cut or (bool(self.cut) and (queue is None or queue in self.cut))


@dataclass(frozen=True, slots=True)
class _Raw:
    instance_id: str | None
    as_of: datetime | None
    lists: list[list[bytes]]
    unacked: dict[bytes, bytes]
    index: dict[bytes, float]
    waiting: Counter[str]
    bindings: int
    unread_queued: int = 0
    unread_taken: int = 0


class Broker:
    """Knows the broker's keys and the routing keys of the watched queues; `unacked` has messages of all queues."""

    def __init__(self, queues: Sequence[str], steps: Sequence[int], separator: str, prefix: str, bound: int) -> None:
        self._lists = [
            (queue, key) for queue in queues for key in list_queue_keys(queue, tuple(steps), separator, prefix)
        ]
        self._unacked, self._index = f"{prefix}unacked", f"{prefix}unacked_index"
        self._bindings = [f"{prefix}_kombu.binding.{queue}" for queue in queues]
        self._bound = bound
        self._routes = set(queues)
        # Parsed messages by their bytes: most are there again in the next poll.
        self._read_before: dict[bytes, TaskMessage] = {}

    def list_keys(self, queue: str | None = None) -> list[str]:
        """Return the keys of the lists of one watched queue, or of all."""
        return [key for name, key in self._lists if queue in (None, name)]

    def find_message(self, task_id: str) -> bytes | None:
        """Return a task's message, or the entry that contains it, if the latest snapshot had it and it is not long."""
        return next((raw for raw, message in self._read_before.items() if message.id == task_id), None)

    def is_watched_route(self, route: str) -> bool:
        return route in self._routes

    def read_snapshot(self, client: redis.Redis) -> BrokerSnapshot:
        listed = self._choose_listed(client)
        raw = self._read(client, listed)
        queues = frozenset(queue for queue, _ in self._lists)
        made = BrokerSnapshot(raw.instance_id, raw.as_of, queues - listed, None not in listed)
        turns: MessageTurns = Counter()
        known: dict[bytes, TaskMessage] = {}
        made.left_out["queued"] = self._sort_queued(raw, made, turns, known)
        made.left_out["reserved"] = self._sort_taken(raw, made, turns, known)
        self._read_before = known
        # A retry is published before the former attempt is acknowledged. Such a task counts as taken.
        made.queued = {task_id: queued for task_id, queued in made.queued.items() if task_id not in made.taken}
        numbers = {"queued": len(made.queued) + raw.unread_queued, "reserved": len(made.taken) + raw.unread_taken}
        made.counts = {state: number + made.left_out[state].number for state, number in numbers.items()}
        made.twice = tuple(sorted({task_id for (task_id, _), count in turns.items() if count > 1}))
        made.index = frozenset(_decode(tag) for tag in raw.index)
        made.waiting, made.bindings = raw.waiting, raw.bindings
        return made

    def _parse(
        self, entry: bytes, known: dict[bytes, TaskMessage], parse: Callable[[bytes], TaskMessage | str]
    ) -> TaskMessage | str:
        message = self._read_before.get(entry) or parse(entry)
        if not isinstance(message, str) and len(entry) <= MAX_CACHED_MESSAGE_BYTES:
            known[entry] = message
        return message

    def _sort_queued(
        self, raw: _Raw, made: BrokerSnapshot, turns: MessageTurns, known: dict[bytes, TaskMessage]
    ) -> LeftOut:
        left_out = NOTHING_LEFT_OUT
        for (queue, key), entries in zip(self._lists, raw.lists, strict=True):
            for place, entry in enumerate(iterate_in_slices(entries), 1):
                message = self._parse(entry, known, parse_queued)
                if isinstance(message, str):
                    left_out = left_out.merge(LeftOut(1, f"entry {place:,} of {_printable(key)}: {message}"))
                    continue
                turns[message.id, message.turn] += 1
                made.queued[message.id] = (queue, message)
                if len(self._routes) < MAX_ROUTES:
                    self._routes.add(message.route)
        return left_out

    def _sort_taken(
        self, raw: _Raw, made: BrokerSnapshot, turns: MessageTurns, known: dict[bytes, TaskMessage]
    ) -> LeftOut:
        left_out = NOTHING_LEFT_OUT
        for tag, entry in iterate_in_slices(raw.unacked.items()):
            message = self._parse(entry, known, parse_unacked)
            if isinstance(message, str):
                first = f"entry {_printable(_decode(tag))} of {self._unacked}: {message}"
                left_out = left_out.merge(LeftOut(1, first))
            elif self.is_watched_route(message.route):
                turns[message.id, message.turn] += 1
                made.taken[message.id] = TakenMessage(message, _decode(tag), raw.index.get(tag))
        return left_out

    def _choose_listed(self, client: redis.Redis) -> frozenset[str | None]:
        """Return the queues whose messages are read, within the limits; None stands for messages that workers took.

        Taken messages come first, then small queues, so that one full queue does not hide the others.
        """
        with client.pipeline(transaction=False) as pipe:
            pipe.hlen(self._unacked)
            for _, key in self._lists:
                pipe.llen(key)
                pipe.lrange(key, 0, 0)
            taken, *answers = pipe.execute()
        numbers, sizes = Counter[str | None]({None: taken}), Counter[str | None]({None: taken * USUAL_MESSAGE_BYTES})
        for (queue, _), length, first in zip(self._lists, answers[::2], answers[1::2], strict=True):
            numbers[queue] += length
            sizes[queue] += length * max(USUAL_MESSAGE_BYTES, *map(len, first)) if first else 0
        listed, jobs, room = set[str | None](), self._bound, MAX_MESSAGE_BYTES
        for one in sorted(numbers, key=lambda one: (one is not None, numbers[one])):
            if numbers[one] <= jobs and sizes[one] <= room:
                listed.add(one)
                jobs, room = jobs - numbers[one], room - sizes[one]
        return frozenset(listed)

    def _read(self, client: redis.Redis, listed: Collection[str | None]) -> _Raw:
        with client.pipeline(transaction=True) as pipe:
            pipe.info("server")
            pipe.time()
            for queue, key in self._lists:
                pipe.lrange(key, 0, -1) if queue in listed else pipe.llen(key)
            pipe.hgetall(self._unacked) if None in listed else pipe.hlen(self._unacked)
            pipe.zrange(self._index, 0, -1, withscores=True) if None in listed else pipe.zcard(self._index)
            pipe.exists(*self._bindings)
            info, now, *lists, unacked, index, bindings = pipe.execute()
        read = [found if isinstance(found, list) else [] for found in lists]
        unread = sum(found for found in lists if isinstance(found, int))
        waiting = Counter[str]()
        for (queue, _), found in zip(self._lists, lists, strict=True):
            waiting[queue] += found if isinstance(found, int) else len(found)
        if None not in listed:
            return _Raw(*_parse_server(info, now), read, {}, {}, waiting, bindings, unread, unacked)
        return _Raw(*_parse_server(info, now), read, unacked, dict(index), waiting, bindings, unread)


def _parse_server(info: Any, now: Any) -> tuple[str | None, datetime]:
    seconds, microseconds = now
    run_id = info.get("run_id")
    return run_id if isinstance(run_id, str) else None, datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)


def _printable(name: str) -> str:
    """Return a key or tag with its unprintable characters replaced."""
    return "".join(sign if sign.isprintable() else " " for sign in name[:MAX_NAME_CHARS])


def _decode(tag: bytes) -> str:
    return tag.decode(errors="replace")

"""Which queues without a worker people have been told of: each once, until it has been served for an hour. Pure."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import NamedTuple

from app.infra.clock import parse_utc

# One that comes and goes (workers that a timer starts, a worker that dies again and again) is told at most so often.
FORGOTTEN_AFTER = timedelta(hours=1)
MAX_QUEUES = 2_000

# By name: since when it is no longer unserved, None while it is.
Told = Mapping[str, str | None]


class Step(NamedTuple):
    """What people have been told of from now on, and the queues that are news."""

    told: Told
    new: tuple[str, ...] = ()


def step(told: Told, unserved: Iterable[str], at: str) -> Step:
    """After an answer of the service; `unserved` in the order in which they are to be named."""
    queues = dict.fromkeys(unserved)
    now = parse_utc(at)
    still = {
        name: None if name in queues else over or at
        for name, over in told.items()
        if over is None or now - parse_utc(over) < FORGOTTEN_AFTER
    }
    new = tuple(name for name in queues if name not in still)
    after = {**dict.fromkeys(queues), **still}
    return Step(dict(list(after.items())[:MAX_QUEUES]), new)

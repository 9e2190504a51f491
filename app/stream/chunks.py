"""Frames joined for sending: what several readers get alike is joined once and shared."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from app.stream.ring import Entry
from app.stream.shapes import Shape
from app.stream.topics import Topics

MAX_CHUNK_BYTES = 64 * 1024


class Chunk(NamedTuple):
    """Bytes that carry a reader from `after` to `upto`. Empty ones say that nothing in between is for it."""

    data: bytes
    after: int
    upto: int
    events: int


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """What readers share that get the same bytes, but for their audiences. Compared by identity: it is looked up
    for each reader in each round."""

    shape: Shape
    topics: Topics


@lru_cache(maxsize=1_000)
def form(shape: Shape, topics: Topics) -> Form:
    """The same one for the same question (as long as it is kept: beyond that, less is shared)."""
    return Form(shape, topics)


def chunks(
    entries: Iterable[Entry],
    form: Form,
    audiences: Collection[str],
    after: int,
    upto: int,
    pace: Callable[[], None],
) -> Iterator[Chunk]:
    """Join what fits the form and the audiences, `MAX_CHUNK_BYTES` or one frame at a time.

    The last chunk reaches `upto`; there is always one. `pace` is called after every frame that had to be made.
    """
    frames: list[bytes] = []
    size, last = 0, after
    for entry in entries:
        event = entry.event
        if event.audience not in audiences or not form.topics.match(event.type):
            continue
        is_new = not entry.has(form.shape)
        frame = entry.frame(form.shape)
        if is_new:
            pace()
        if frame is None:
            continue
        if frames and size + len(frame) > MAX_CHUNK_BYTES:
            yield Chunk(b"".join(frames), after, last, len(frames))
            frames, size, after = [], 0, last
        frames.append(frame)
        size += len(frame)
        last = event.id
    yield Chunk(b"".join(frames), after, upto, len(frames))

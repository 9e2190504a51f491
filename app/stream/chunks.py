"""Frames joined for sending: what several readers get alike is joined once and shared.

A reader of HTTP/1.1 gets each of these in a chunk of the transfer coding (RFC 9112, section 7.1): clients that read a
body which only ends with its connection wait until a buffer of theirs is full. It is put on where frames are joined.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from app.stream.formats import EventFormat
from app.stream.ring_buffer import BufferedEvent
from app.stream.topics import Topics

MAX_CHUNK_BYTES = 64 * 1024
LAST_HTTP_CHUNK = b"0\r\n\r\n"
"""Tells a reader of HTTP/1.1 that the stream has ended in order; where it is missing, the stream was cut."""


class Chunk(NamedTuple):
    """Bytes that carry a reader from `after` to `upto`. Empty ones say that nothing in between is for it."""

    data: bytes
    after: int
    upto: int
    events: int


@dataclass(frozen=True, slots=True, eq=False)
class SharedEncoding:
    """What readers share that get the same bytes, but for their audiences. Compared by identity: it is looked up
    for each reader in each round."""

    shape: EventFormat
    topics: Topics
    in_http_chunks: bool = False
    """HTTP/1.1 on a socket of our own; HTTP/1.0 has no chunks, and the generator's server makes them itself."""


@lru_cache(maxsize=1_000)
def shared_encoding(shape: EventFormat, topics: Topics, in_http_chunks: bool = False) -> SharedEncoding:
    """The same one for the same question (as long as it is kept: beyond that, less is shared)."""
    return SharedEncoding(shape, topics, in_http_chunks)


def http_chunk(frames: bytes) -> bytes:
    """One chunk around these bytes; none around nothing, which would say that the stream has ended."""
    return b"%x\r\n%b\r\n" % (len(frames), frames) if frames else b""


def join_chunks(
    entries: Iterable[BufferedEvent],
    form: SharedEncoding,
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
        if event.audience not in audiences or not form.topics.matches(event.type):
            continue
        is_new = not entry.has_frame(form.shape)
        frame = entry.frame(form.shape)
        if is_new:
            pace()
        if frame is None:
            continue
        if frames and size + len(frame) > MAX_CHUNK_BYTES:
            yield Chunk(_join(frames, size, form), after, last, len(frames))
            frames, size, after = [], 0, last
        frames.append(frame)
        size += len(frame)
        last = event.id
    yield Chunk(_join(frames, size, form), after, upto, len(frames))


def _join(frames: Sequence[bytes], size: int, form: SharedEncoding) -> bytes:
    """In one copy, whether in a chunk or not."""
    if form.in_http_chunks and frames:
        return b"".join((b"%x\r\n" % size, *frames, b"\r\n"))
    return b"".join(frames)

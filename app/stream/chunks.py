"""Joins frames for sending: bytes that several subscribers receive identically are joined once and shared.

For HTTP/1.1 each of these chunks is also a chunk of the transfer coding (RFC 9112, section 7.1), because clients buffer
a body that only ends with its connection until their buffer is full. The coding is added where frames are joined.
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
"""Tells an HTTP/1.1 client that the stream ended in order; if it is missing, the connection was cut."""


class Chunk(NamedTuple):
    """Bytes that take a subscriber from `after` to `upto`. Empty if nothing in between is for it."""

    data: bytes
    after: int
    upto: int
    events: int


@dataclass(frozen=True, slots=True, eq=False)
class SharedEncoding:
    """What subscribers with the same bytes have in common, apart from their audiences. Compared by identity, because
    it is looked up for each subscriber in each round."""

    event_format: EventFormat
    topics: Topics
    in_http_chunks: bool = False
    """True for HTTP/1.1 on our own socket. HTTP/1.0 has no chunks, and a generator's server adds them itself."""


@lru_cache(maxsize=1_000)
def shared_encoding(event_format: EventFormat, topics: Topics, in_http_chunks: bool = False) -> SharedEncoding:
    """Return the same object for the same arguments. One that was evicted from the cache is no longer shared."""
    return SharedEncoding(event_format, topics, in_http_chunks)


def http_chunk(frames: bytes) -> bytes:
    """Wrap bytes in one HTTP chunk. No bytes give no chunk, because an empty one would end the stream."""
    return b"%x\r\n%b\r\n" % (len(frames), frames) if frames else b""


def join_chunks(
    entries: Iterable[BufferedEvent],
    encoding: SharedEncoding,
    audiences: Collection[str],
    after: int,
    upto: int,
    pace: Callable[[], None],
) -> Iterator[Chunk]:
    """Join the frames that match the encoding and the audiences, up to `MAX_CHUNK_BYTES` or one frame per chunk.

    There is always a chunk, and the last one reaches `upto`. `pace` is called after each newly encoded frame.
    """
    frames: list[bytes] = []
    size, last = 0, after
    for entry in entries:
        event = entry.event
        if event.audience not in audiences or not encoding.topics.matches(event.type):
            continue
        is_new = not entry.has_frame(encoding.event_format)
        frame = entry.frame(encoding.event_format)
        if is_new:
            pace()
        if frame is None:
            continue
        if frames and size + len(frame) > MAX_CHUNK_BYTES:
            yield Chunk(_join(frames, size, encoding), after, last, len(frames))
            frames, size, after = [], 0, last
        frames.append(frame)
        size += len(frame)
        last = event.id
    yield Chunk(_join(frames, size, encoding), after, upto, len(frames))


def _join(frames: Sequence[bytes], size: int, encoding: SharedEncoding) -> bytes:
    """Join with a single copy, with or without the HTTP chunk."""
    if encoding.in_http_chunks and frames:
        return b"".join((b"%x\r\n" % size, *frames, b"\r\n"))
    return b"".join(frames)

"""One open stream as the hub sees it: who reads, what they may get, and where they stand."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from app.eventlog.audience import Viewer
from app.stream.chunks import Chunk, shared_encoding
from app.stream.formats import EventFormat
from app.stream.topics import Topics

CloseReason = Literal["drain", "lifetime", "revoked", "flag-off", "slow"]


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, and how. `head` is the log's head when the credential was checked: what was revoked since counts."""

    viewer: Viewer
    shape: EventFormat
    topics: Topics
    head: int
    login_id: str | None = None
    token_id: int | None = None


class Subscriber(ABC):
    """Either live (it gets what is new as it comes) or behind (it is read to from the ring or the log first).

    A reader that does not take its bytes is put behind: nothing is lost, because the log still has it, and nobody
    waits. `cursor` is the last id whose bytes were taken on for sending. `on_end` is called once, when the stream is
    over.
    """

    __slots__ = ("audiences", "close_reason", "cursor", "form", "live", "on_end", "opened_at", "reader")

    def __init__(
        self, reader: Reader, after: int, on_end: Callable[[], None] | None = None, *, in_http_chunks: bool = False
    ) -> None:
        self.reader = reader
        self.audiences = reader.viewer.audiences
        self.form = shared_encoding(reader.shape, reader.topics, in_http_chunks)
        self.cursor = after
        self.live = False
        self.close_reason: CloseReason | None = None
        self.opened_at = time.monotonic()
        self.on_end = on_end

    @abstractmethod
    def push(self, chunk: Chunk) -> bool:
        """Send what is new to a live reader; False where it was not (wholly) taken, and the reader is behind now."""

    @abstractmethod
    def close(self, reason: CloseReason) -> None:
        """Say goodbye and end the stream; the first reason stays."""

    @abstractmethod
    def mark_lagging(self) -> None:
        """Back to being read to from its cursor."""

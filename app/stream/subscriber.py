"""One open stream as the hub sees it: who reads, what they may receive, and their position in the log."""

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
    """Who reads, and how. `head` is the log's head when the credential was checked; later revocations apply to it."""

    viewer: Viewer
    event_format: EventFormat
    topics: Topics
    head: int
    login_id: str | None = None
    token_id: int | None = None


class Subscriber(ABC):
    """Either live (it gets new events as they arrive) or lagging (it first catches up from the ring buffer or the log).

    A subscriber whose bytes are not accepted becomes lagging: nothing is lost, because the log still has its events,
    and nobody waits for it. `cursor` is the last id whose bytes were accepted for sending. `on_end` is called once,
    when the stream has ended.
    """

    __slots__ = ("audiences", "close_reason", "cursor", "encoding", "live", "on_end", "opened_at", "reader")

    def __init__(
        self, reader: Reader, after: int, on_end: Callable[[], None] | None = None, *, in_http_chunks: bool = False
    ) -> None:
        self.reader = reader
        self.audiences = reader.viewer.audiences
        self.encoding = shared_encoding(reader.event_format, reader.topics, in_http_chunks)
        self.cursor = after
        self.live = False
        self.close_reason: CloseReason | None = None
        self.opened_at = time.monotonic()
        self.on_end = on_end

    @abstractmethod
    def push(self, chunk: Chunk) -> bool:
        """Send new events to a live subscriber. False if they were not completely accepted and it is lagging now."""

    @abstractmethod
    def close(self, reason: CloseReason) -> None:
        """Send `bye` and end the stream; the first reason is kept."""

    @abstractmethod
    def mark_lagging(self) -> None:
        """Stop live delivery; the subscriber catches up from its cursor."""

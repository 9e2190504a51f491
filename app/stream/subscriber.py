"""One open stream as the hub sees it: what it may get, where it stands, and its bounded queue."""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Literal

from app.eventlog.audience import Viewer
from app.stream.shapes import Shape
from app.stream.topics import Topics

MAX_QUEUED_BYTES = 64 * 1024

Goodbye = Literal["drain", "lifetime", "revoked", "flag-off", "slow"]


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, and how. `head` is the log's head when the credential was checked: what was revoked since counts."""

    viewer: Viewer
    shape: Shape
    topics: Topics
    head: int
    login_id: str | None = None
    token_id: int | None = None


class Subscriber:
    """Either live (the hub queues frames) or behind (its feed reads the log from `cursor` first).

    A full queue makes it behind again: nothing is lost, because the log still has it, and nobody waits.
    """

    def __init__(self, reader: Reader, after: int) -> None:
        self.reader = reader
        self.audiences = reader.viewer.audiences
        self.cursor = after
        self.live = False
        self.goodbye: Goodbye | None = None
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._ready = threading.Condition()

    def wants(self, event_type: str, audience: str) -> bool:
        return audience in self.audiences and self.reader.topics.match(event_type)

    def offer(self, event_id: int, frame: bytes) -> None:
        """Queue a live frame. One at or below the cursor was already replayed; after a goodbye there are no more."""
        with self._ready:
            if not self.live or self.goodbye is not None or event_id <= self.cursor:
                return
            if self._frames and self._bytes + len(frame) > MAX_QUEUED_BYTES:
                self.live = False
            else:
                self._frames.append(frame)
                self._bytes += len(frame)
                self.cursor = event_id
            self._ready.notify()

    def take(self, timeout_s: float) -> bytes:
        """All queued frames joined; empty after `timeout_s`, or when there is something else to look at."""
        with self._ready:
            if not self._frames and self.live and self.goodbye is None:
                self._ready.wait(timeout_s)
            joined = b"".join(self._frames)
            self._frames.clear()
            self._bytes = 0
            return joined

    def fall_behind(self) -> None:
        """Back to reading the log from the cursor."""
        with self._ready:
            self.live = False
            self._ready.notify()

    def close(self, reason: Goodbye) -> None:
        """Ask the feed to say goodbye; the first reason stays."""
        with self._ready:
            self.goodbye = self.goodbye or reason
            self._ready.notify()

    def wait_behind(self, timeout_s: float) -> None:
        """Pause before the log is tried again; ends early when the stream is to close."""
        with self._ready:
            if self.goodbye is None:
                self._ready.wait(timeout_s)

"""A subscriber on the generator transport: the broadcaster fills a bounded queue, its generator empties it."""

import threading
from collections import deque
from collections.abc import Callable

from app.stream.chunks import Chunk
from app.stream.subscriber import CloseReason, Reader, Subscriber

MAX_QUEUED_BYTES = 64 * 1024


class QueuedSubscriber(Subscriber):
    """A full queue marks it lagging; its generator then reads from the replay. Safe between native threads."""

    __slots__ = ("_bytes", "_chunks", "_cut", "_is_waiting", "_ready")

    def __init__(
        self,
        reader: Reader,
        after: int,
        on_end: Callable[[], None] | None = None,
        cut: Callable[[], None] = lambda: None,
    ) -> None:
        """`cut` closes the connection while the generator waits for its peer and cannot see the close reason."""
        super().__init__(reader, after, on_end)
        self._cut = cut
        self._is_waiting = False
        self._chunks: deque[bytes] = deque()
        self._bytes = 0
        self._ready = threading.Condition()

    def push(self, chunk: Chunk) -> bool:
        with self._ready:
            if not self.live or self.close_reason is not None or chunk.after != self.cursor:
                return False
            if self._chunks and self._bytes + len(chunk.data) > MAX_QUEUED_BYTES:
                self.live = False
                self._ready.notify()
                return False
            self.cursor = chunk.upto
            if chunk.data:
                self._chunks.append(chunk.data)
                self._bytes += len(chunk.data)
                self._ready.notify()
            return True

    def take(self, timeout_s: float) -> bytes:
        """Return all queued bytes; empty after `timeout_s`, or when the stream is lagging or to be closed."""
        with self._ready:
            if not self._chunks and self.live and self.close_reason is None:
                self._is_waiting = True
                self._ready.wait(timeout_s)
                self._is_waiting = False
            joined = b"".join(self._chunks)
            self._chunks.clear()
            self._bytes = 0
            return joined

    def mark_lagging(self) -> None:
        with self._ready:
            self.live = False
            self._ready.notify()

    def close(self, reason: CloseReason) -> None:
        """Ask the generator to end the stream. After a revocation it must end at once."""
        with self._ready:
            self.close_reason = self.close_reason or reason
            self._ready.notify()
            is_deaf = not self._is_waiting
        if reason == "revoked" and is_deaf:
            self._cut()

    def pause_before_retry(self, timeout_s: float) -> None:
        """Pause before the log is read again. Ends early when the stream is to be closed."""
        with self._ready:
            if self.close_reason is None:
                self._ready.wait(timeout_s)

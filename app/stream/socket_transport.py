"""A subscriber on a handed-off socket: it costs a few hundred bytes, no greenlet and no queue."""

import _socket
import fcntl
import socket
import struct
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from app.stream import control
from app.stream.chunks import LAST_HTTP_CHUNK, Chunk, http_chunk
from app.stream.counters import Counters
from app.stream.subscriber import CloseReason, Reader, Subscriber

Connection = _socket.socket
"""The plain socket without Python's and gevent's wrappers: non-blocking and small."""

# A subscriber that accepts no bytes for this long is closed.
SLOW_READER_TIMEOUT_S = 30.0
# The kernel doubles it: it holds at most 64 KiB per subscriber, its own bookkeeping included.
SEND_BUFFER_BYTES = 32 * 1024
# A peer that acknowledges nothing for this long is gone. With a heartbeat every 15 s this is noticed within 45 s.
ACK_TIMEOUT_MS = 29_000
# While a socket is blocked, `Heartbeats` decides: the kernel would treat a closed or slowly opening window as silence.
BLOCKED_ACK_TIMEOUT_MS = 0
# How long a close waits for a subscriber that accepts no bytes.
CLOSE_GRACE_S = 2.0
_DISCARD_BYTES = 65_536


class ConfigurableSocket(Protocol):
    """A socket, plain or gevent's."""

    @property
    def family(self) -> int: ...
    def setsockopt(self, level: int, optname: int, value: int, /) -> None: ...


def set_kernel_limits(connection: ConfigurableSocket) -> None:
    """Limit what the kernel buffers for one subscriber, and how long it waits for a peer that has vanished."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    set_ack_timeout(connection, ACK_TIMEOUT_MS)


def set_ack_timeout(connection: ConfigurableSocket, silence_ms: int) -> None:
    """Set how long sent bytes may stay unacknowledged before the peer counts as gone; 0 is the system's default."""
    if connection.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_ms)


class SocketRegistry(Protocol):
    """What a subscriber needs from the owner of all sockets."""

    counters: Counters

    def catch_up(self, subscriber: "SocketSubscriber") -> None: ...
    def watch_writable(self, subscriber: "SocketSubscriber", *, wanted: bool) -> None: ...
    def forget(self, subscriber: "SocketSubscriber", reason: str) -> None: ...


class SocketSubscriber(Subscriber):
    """Keeps what the kernel does not accept: the rest of one chunk, about 64 KiB or one frame.

    While bytes are kept the subscriber is lagging and nothing more is kept for it. Once the socket drains, it catches
    up from its cursor.
    """

    __slots__ = ("_left", "_owner", "_rest", "_socket", "blocked_since", "ends_at", "fd", "is_queued", "slot")

    def __init__(
        self,
        connection: Connection,
        owner: SocketRegistry,
        reader: Reader,
        after: int,
        ends_at: float,
        on_end: Callable[[], None] | None,
        *,
        in_http_chunks: bool = False,
    ) -> None:
        super().__init__(reader, after, on_end, in_http_chunks=in_http_chunks)
        self._socket, self._owner = connection, owner
        self._rest: memoryview | None = None
        self.fd = connection.fileno()
        self.ends_at = ends_at
        """When the stream's lifetime ends, in monotonic seconds; after `close`, when the grace period ends."""
        self.blocked_since: float | None = None
        """While the socket is blocked: when it last accepted bytes, in monotonic seconds. None otherwise."""
        self._left = 0
        self.is_queued = False
        """True while it waits in the catch-up queue."""
        self.slot = 0
        """Its slot on the heartbeat wheel."""

    def can_send(self) -> bool:
        """True if it is open, not blocked and not being closed."""
        return self.fd >= 0 and self.blocked_since is None and self.close_reason is None

    def push(self, chunk: Chunk) -> bool:
        return self.live and chunk.after == self.cursor and self.write(chunk)

    def write(self, chunk: Chunk) -> bool:
        """Send a chunk that follows the cursor; False if it was not completely accepted or the peer is gone.

        This runs hundreds of thousands of times a second, so the usual case calls nothing but the socket.
        """
        data = chunk.data
        if data:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.end("client-gone")
                return False
            self._owner.counters.bytes += sent
            if sent != len(data):
                self._keep_rest(chunk, sent)
                return False
        self.cursor = chunk.upto
        return True

    def _keep_rest(self, chunk: Chunk, sent: int) -> None:
        """If part of the chunk was sent, keep the rest to send it later. If nothing was, it is read again later."""
        if sent:
            self._rest = memoryview(chunk.data)[sent:]
            self.cursor = chunk.upto
            self._owner.counters.deliveries += chunk.events
        self._mark_blocked()

    def begin(self, head: bytes, frames: bytes) -> None:
        """Send the response head and the stream's first frames in one segment."""
        self._send_or_block(head + self._add_http_chunk(frames))

    def send_control(self, frame: bytes) -> None:
        """Send a control frame. It is skipped while the socket is blocked, because a chunk is then only partly sent."""
        if self.blocked_since is None:
            self._send_or_block(self._add_http_chunk(frame))

    def _send_or_block(self, data: bytes) -> None:
        sent = self._send(data)
        if 0 <= sent < len(data):
            self._rest = memoryview(data)[sent:]
            self._mark_blocked()

    def _add_http_chunk(self, frames: bytes) -> bytes:
        return http_chunk(frames) if self.encoding.in_http_chunks else frames

    def close(self, reason: CloseReason) -> None:
        """Close now. If the socket is blocked, wait for it to drain first, except for `revoked` and `slow`."""
        if self.close_reason is not None and reason != "revoked":
            return
        self.close_reason = self.close_reason or reason
        self.live = False
        if self.blocked_since is not None and reason not in ("slow", "revoked"):
            self.ends_at = time.monotonic() + CLOSE_GRACE_S
        else:
            self.finish()

    def finish(self) -> None:
        """Send the kept rest and `bye`, then close. Bytes that the kernel does not accept now are lost."""
        rest, self._rest = self._rest, None
        last = LAST_HTTP_CHUNK if self.encoding.in_http_chunks else b""
        self._send(bytes(rest or b"") + self._add_http_chunk(control.bye_frame(self.close_reason)) + last)
        self.end(self.close_reason or "error")

    def end(self, reason: str) -> None:
        """Close the socket; bytes sent before are still delivered."""
        if self.fd < 0:
            return
        self._owner.forget(self, reason)
        self.fd = -1
        self.live = False
        self.clear_blocked()
        self._rest = None
        self._discard()
        with suppress(OSError):  # the peer has already closed it
            self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()

    def mark_lagging(self) -> None:
        self.live = False
        self._owner.catch_up(self)

    def on_readable(self) -> None:
        """Discard what the client sends after its request. At end of file the stream ends."""
        try:
            if not self._socket.recv(_DISCARD_BYTES):
                self.end("client-gone")
        except BlockingIOError:
            pass
        except OSError:
            self.end("client-gone")

    def on_writable(self) -> None:
        """The kernel accepts bytes again: send the rest, then catch up on missed events."""
        if self._rest is not None:
            sent = self._send(self._rest)
            if sent < 0:
                return
            if sent > 0:
                self.blocked_since = time.monotonic()
            if sent < len(self._rest):
                self._rest = self._rest[sent:]
                return
            self._rest = None
        self.clear_blocked()
        if self.close_reason is not None:
            self.finish()
        else:
            self._owner.catch_up(self)

    def note_progress(self, now: float) -> None:
        """Note whether the peer has accepted bytes. One that accepts a little at a time is slow and not gone:
        `on_writable` is called only after a third of the buffer, so the kernel's unsent bytes are checked too."""
        try:
            left = int(struct.unpack("i", fcntl.ioctl(self.fd, termios.TIOCOUTQ, b"\0\0\0\0"))[0])
        except OSError:
            return  # this kernel does not say: `on_writable` has to suffice
        if left < self._left:
            self.blocked_since = now
        self._left = left

    def set_ack_timeout(self, silence_ms: int) -> None:
        set_ack_timeout(self._socket, silence_ms)

    def clear_blocked(self) -> None:
        """Mark the socket as no longer blocked."""
        if self.blocked_since is not None:
            self.blocked_since = None
            self._owner.counters.slow_now -= 1
            self._owner.watch_writable(self, wanted=False)

    def _mark_blocked(self) -> None:
        self.live = False
        self._left = 0
        self.blocked_since = time.monotonic()
        self._owner.counters.slow_now += 1
        self._owner.counters.fell_behind += 1
        self._owner.watch_writable(self, wanted=True)

    def _send(self, data: bytes | memoryview) -> int:
        """Return how many bytes the kernel accepted; -1 if the peer is gone and the stream has ended."""
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self.end("client-gone")
            return -1
        self._owner.counters.bytes += sent
        return sent

    def _discard(self) -> None:
        """Discard unread bytes: the kernel would turn the close into a reset, which may overtake the `bye`."""
        with suppress(OSError):  # nothing to read, or the peer is gone
            self._socket.recv(_DISCARD_BYTES)

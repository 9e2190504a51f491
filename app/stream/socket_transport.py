"""A reader on a handed-off socket: a few hundred bytes, no greenlet, no queue."""

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
"""The plain socket, without what Python and gevent put around it: non-blocking, and small."""

# A reader that takes nothing for so long is closed.
SLOW_READER_TIMEOUT_S = 30.0
# The kernel doubles it: 64 KiB for what it holds of one reader, its own bookkeeping included.
SEND_BUFFER_BYTES = 32 * 1024
# Unacknowledged for so long, a peer is gone. With a heartbeat every 15 s that is noticed within 45 s.
ACK_TIMEOUT_MS = 29_000
# While bytes are held the pulse decides: the kernel takes a window that is closed, or opens too slowly, for silence.
BLOCKED_ACK_TIMEOUT_MS = 0
# A goodbye waits so long for a reader that does not take its bytes.
CLOSE_GRACE_S = 2.0
_DISCARD_BYTES = 65_536


class ConfigurableSocket(Protocol):
    """A socket, plain or gevent's."""

    @property
    def family(self) -> int: ...
    def setsockopt(self, level: int, optname: int, value: int, /) -> None: ...


def set_kernel_limits(connection: ConfigurableSocket) -> None:
    """What the kernel may hold for one reader, and how long it waits for a peer that has vanished."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    set_ack_timeout(connection, ACK_TIMEOUT_MS)


def set_ack_timeout(connection: ConfigurableSocket, silence_ms: int) -> None:
    """How long what was sent may go without an acknowledgement before the peer is taken for gone; 0: the system's."""
    if connection.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_ms)


class SocketRegistry(Protocol):
    """What a wire asks of whoever keeps them all."""

    counters: Counters

    def catch_up(self, wire: "SocketSubscriber") -> None: ...
    def watch_writable(self, wire: "SocketSubscriber", *, wanted: bool) -> None: ...
    def forget(self, wire: "SocketSubscriber", reason: str) -> None: ...


class SocketSubscriber(Subscriber):
    """What the kernel does not take stays here: the rest of one chunk, about 64 KiB or one frame. While it is held
    the reader is behind, nothing more is kept for it, and it is read to again from its cursor when it drains.
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
        """When it has lived long enough, monotonic seconds; after a goodbye, when the waiting ends."""
        self.blocked_since: float | None = None
        """When it last took bytes, monotonic seconds, while it does not take all; None while it does."""
        self._left = 0
        self.is_queued = False
        """Waits to be caught up."""
        self.slot = 0
        """Its place on the wheel of heartbeats."""

    def can_send(self) -> bool:
        """Open, nothing held back, and no goodbye on its way."""
        return self.fd >= 0 and self.blocked_since is None and self.close_reason is None

    def push(self, chunk: Chunk) -> bool:
        return self.live and chunk.after == self.cursor and self.write(chunk)

    def write(self, chunk: Chunk) -> bool:
        """Send a chunk that continues the cursor; False where it was not wholly taken, or the peer is gone.

        Hundreds of thousands of times a second: the usual case calls nothing but the socket.
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
        """Where part of it is on its way, all of it must go. If nothing is, it is made anew later."""
        if sent:
            self._rest = memoryview(chunk.data)[sent:]
            self.cursor = chunk.upto
            self._owner.counters.deliveries += chunk.events
        self._mark_blocked()

    def begin(self, head: bytes, frames: bytes) -> None:
        """Send the answer's head and the stream's first frames, in one segment."""
        self._send_or_block(head + self._framed(frames))

    def send_control(self, frame: bytes) -> None:
        """Send a control frame: whole frames only go out between chunks, so not while something is held."""
        if self.blocked_since is None:
            self._send_or_block(self._framed(frame))

    def _send_or_block(self, data: bytes) -> None:
        sent = self._send(data)
        if 0 <= sent < len(data):
            self._rest = memoryview(data)[sent:]
            self._mark_blocked()

    def _framed(self, frames: bytes) -> bytes:
        return http_chunk(frames) if self.form.in_http_chunks else frames

    def close(self, reason: CloseReason) -> None:
        """Goodbye goes out now or, but for a revocation and a reader that stands still, as soon as it drains."""
        if self.close_reason is not None and reason != "revoked":
            return
        self.close_reason = self.close_reason or reason
        self.live = False
        if self.blocked_since is not None and reason not in ("slow", "revoked"):
            self.ends_at = time.monotonic() + CLOSE_GRACE_S
        else:
            self.finish()

    def finish(self) -> None:
        """The rest of what is under way, a goodbye, the end: what does not fit into the kernel now is lost."""
        rest, self._rest = self._rest, None
        last = LAST_HTTP_CHUNK if self.form.in_http_chunks else b""
        self._send(bytes(rest or b"") + self._framed(control.bye_frame(self.close_reason)) + last)
        self.end(self.close_reason or "error")

    def end(self, reason: str) -> None:
        """Close the socket; what was sent before is still delivered."""
        if self.fd < 0:
            return
        self._owner.forget(self, reason)
        self.fd = -1
        self.live = False
        self.clear_blocked()
        self._rest = None
        self._discard()
        with suppress(OSError):  # the peer was faster
            self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()

    def mark_lagging(self) -> None:
        self.live = False
        self._owner.catch_up(self)

    def on_readable(self) -> None:
        """A reader has nothing to say after its request: what comes is thrown away, the end is the end."""
        try:
            if not self._socket.recv(_DISCARD_BYTES):
                self.end("client-gone")
        except BlockingIOError:
            pass
        except OSError:
            self.end("client-gone")

    def on_writable(self) -> None:
        """The kernel takes bytes again: first the rest, then what was missed meanwhile."""
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
        """A peer that takes a little at a time is slow and not gone: `on_writable` comes only after a third of the
        buffer, so what the kernel still has to send is looked at too."""
        try:
            left = int(struct.unpack("i", fcntl.ioctl(self.fd, termios.TIOCOUTQ, b"\0\0\0\0"))[0])
        except OSError:
            return  # no kernel that tells: `on_writable` has to do
        if left < self._left:
            self.blocked_since = now
        self._left = left

    def set_ack_timeout(self, silence_ms: int) -> None:
        set_ack_timeout(self._socket, silence_ms)

    def clear_blocked(self) -> None:
        """Nothing is held any more."""
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
        """How many bytes the kernel took; -1 where the peer is gone, and the wire has ended."""
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
        """Unread bytes in the kernel would turn the close into a reset, which may overtake the goodbye."""
        with suppress(OSError):  # nothing to read, or nobody there
            self._socket.recv(_DISCARD_BYTES)

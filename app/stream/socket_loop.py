"""Watches all handed-off sockets of a worker with one `epoll`, for closed peers and for writable sockets."""

import logging
import select
import threading
import time
from collections.abc import Callable
from random import uniform

from gevent import get_hub
from gevent.monkey import get_original

from app.infra.concurrency import TimeSlice
from app.stream.catchup import CatchUp
from app.stream.control import Opening
from app.stream.heartbeat import Heartbeats
from app.stream.hub import Hub
from app.stream.socket_transport import (
    ACK_TIMEOUT_MS,
    BLOCKED_ACK_TIMEOUT_MS,
    Connection,
    SocketSubscriber,
    set_kernel_limits,
)

log = logging.getLogger(__name__)

# gevent removes `epoll` from `select`, because waiting in it would block the loop. Here it is only polled.
_epoll_factory = get_original("select", "epoll")

_MAX_EVENTS_PER_POLL = 512
_READABLE = select.EPOLLIN | select.EPOLLRDHUP


class SocketLoop:
    """A background part of workers with an event loop."""

    def __init__(self, hub: Hub, catchup: CatchUp, pulse: Heartbeats, lifetime_s: float) -> None:
        self._hub, self._catchup, self._heartbeats, self._lifetime_s = hub, catchup, pulse, lifetime_s
        self.counters = hub.counters
        self._subscribers: dict[int, SocketSubscriber] = {}
        self._epoll = _epoll_factory()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._subscribers)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="socket-loop", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for subscriber in list(self._subscribers.values()):
            subscriber.end("drain")

    def open(
        self,
        connection: Connection,
        head: bytes,
        opening: Opening,
        on_end: Callable[[], None],
        *,
        in_http_chunks: bool,
    ) -> SocketSubscriber:
        """Take over a socket: send the head and the first frames, then let the subscriber catch up."""
        connection.setblocking(False)
        set_kernel_limits(connection)
        ends_at = time.monotonic() + self._lifetime_s * uniform(0.8, 1.2)  # noqa: S311 -- spreads reconnects
        subscriber = SocketSubscriber(
            connection, self, opening.reader, opening.start.after, ends_at, on_end, in_http_chunks=in_http_chunks
        )
        self._epoll.register(subscriber.fd, _READABLE)
        self._subscribers[subscriber.fd] = subscriber
        self._hub.add(subscriber, opening)
        self._heartbeats.add(subscriber)
        try:
            self._send_first_frames(subscriber, head, opening)
        except Exception:
            subscriber.end("error")
            raise
        return subscriber

    def _send_first_frames(self, subscriber: SocketSubscriber, head: bytes, opening: Opening) -> None:
        subscriber.begin(head, opening.frames())
        self._hub.check_admission(subscriber, opening)
        # If even these bytes were not all sent, it catches up once its socket drains.
        if subscriber.can_send() and not self._hub.go_live(subscriber):
            self.catch_up(subscriber)

    def all(self) -> list[SocketSubscriber]:
        return list(self._subscribers.values())

    def catch_up(self, subscriber: SocketSubscriber) -> None:
        self._catchup.add(subscriber)

    def watch_writable(self, subscriber: SocketSubscriber, *, wanted: bool) -> None:
        if subscriber.fd >= 0:
            self._epoll.modify(subscriber.fd, _READABLE | select.EPOLLOUT if wanted else _READABLE)
            subscriber.set_ack_timeout(BLOCKED_ACK_TIMEOUT_MS if wanted else ACK_TIMEOUT_MS)

    def forget(self, subscriber: SocketSubscriber, reason: str) -> None:
        """Called by the subscriber before it closes its socket, because the descriptor may be reused at once."""
        del self._subscribers[subscriber.fd]
        self._epoll.unregister(subscriber.fd)
        self._heartbeats.remove(subscriber)
        self._hub.remove(subscriber, reason)

    def _run(self) -> None:
        watcher = get_hub().loop.io(self._epoll.fileno(), 1)
        try:
            while not self._stopping.is_set():
                get_hub().wait(watcher)
                self._poll()
        finally:
            watcher.stop()
            watcher.close()

    def _poll(self) -> None:
        pace = TimeSlice()
        for fd, events in self._epoll.poll(0, _MAX_EVENTS_PER_POLL):
            subscriber = self._subscribers.get(fd)
            if subscriber is None:
                continue  # closed while another one of this batch was handled
            try:
                if events & select.EPOLLOUT and subscriber.blocked_since is not None:
                    subscriber.on_writable()
                if events & ~select.EPOLLOUT and subscriber.fd >= 0:
                    subscriber.on_readable()
            except Exception:
                log.exception("a stream failed: user=%s cursor=%s", subscriber.reader.viewer.name, subscriber.cursor)
                subscriber.end("error")
            pace()

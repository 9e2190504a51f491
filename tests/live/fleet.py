"""Thousands of stream clients in one thread. Nothing runs by itself: the test turns the crank.

A client keeps its last id and resumes with it, as `live.js` and every EventSource do.
"""

import random
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from zlib import crc32

from tests.contract.wire import Dechunker
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled

EVENTS = "/api/stream/events"
_READ_BYTES = 262_144
# The longest pause before a client comes again: the server's hint is for people's browsers, a test has less time.
_PAUSE_S = 0.1


class Reader:
    """One client with all its connections, one after the other."""

    def __init__(self, fleet: "Fleet", user: str, path: str, headers: Mapping[str, str], after: int | None) -> None:
        self._fleet, self.user, self._path, self._headers = fleet, user, path, dict(headers)
        self.first = self.cursor = after
        self.ids: list[int] = []
        self.arrived: list[float] = []
        """When each id came, monotonic seconds."""
        self.sums: list[int] = []
        """A checksum of each event's bytes: the same for all readers alike, whatever way they took."""
        self.resets: list[int] = []
        self.byes: list[bytes] = []
        self.bye_at = 0.0
        self.refusals: list[int] = []
        self.strange: list[bytes] = []
        """Frames of no known kind: there must be none."""
        self.hellos = self.beats = self.cuts = self.cuts_in_frame = 0
        self.cut_by_server = 0
        """Streams in chunks that ended without the last one."""
        self.comes_back = True
        self.receive_buffer: int | None = None
        self._socket: socket.socket | None = None
        self._waiting = b""
        self._status: int | None = None
        self._dechunker: Dechunker | None = None
        self._cut_in_frame = self._is_leaving = False

    @property
    def is_open(self) -> bool:
        """Greeted and not over."""
        return self._socket is not None and self._status == 200

    @property
    def is_staying(self) -> bool:
        """Open, and nobody has asked for its end yet."""
        return self.is_open and not self._is_leaving

    @property
    def is_away(self) -> bool:
        return self._socket is None

    def connect(self) -> None:
        try:
            self._socket = self._dial()
        except OSError:
            self._come_again()
            return
        self._waiting, self._status, self._dechunker = b"", None, None
        self._cut_in_frame = self._is_leaving = False
        self._fleet.watch(self._socket, self)

    def cut(self, how: str = "fin") -> None:
        """End it from this side: orderly, with a reset, or with half a word (the write side only)."""
        connection = self._socket
        if connection is None:
            return
        self.cuts += 1
        self._is_leaving = True
        if how == "half":
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            return
        if how == "rst":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._drop()

    def cut_in_frame(self) -> None:
        """End it as soon as part of a frame is here and the rest is not."""
        self._cut_in_frame = self._is_leaving = True

    def stall(self) -> None:
        """Read nothing until `go_on`."""
        assert self._socket is not None
        self._fleet.unwatch(self._socket)

    def go_on(self) -> None:
        assert self._socket is not None
        self._fleet.watch(self._socket, self)

    def read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(random.randint(1, 60) if self._cut_in_frame and self.is_open else _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.cut_by_server += self._dechunker is not None and not self._dechunker.ended
            self._drop()
            return
        self._take(data)
        if self._cut_in_frame and self._waiting and self.is_open:
            self.cuts_in_frame += 1
            self.cut()

    def _dial(self) -> socket.socket:
        connection = socket.socket()
        connection.settimeout(scaled(10))
        try:
            if self.receive_buffer is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
                # As on a network: loopback's own 64 KiB never fit a small window, and that is a case of its own.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1_400)
            connection.connect(self._fleet.address)
            connection.sendall(self._request())
        except OSError:
            connection.close()
            raise
        connection.setblocking(False)
        return connection

    def _request(self) -> bytes:
        headers = {"Host": "127.0.0.1", **self._headers}
        if self.cursor is not None:
            headers["Last-Event-ID"] = str(self.cursor)
        lines = [f"GET {self._path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _take(self, data: bytes) -> None:
        if self._status is None:
            self._waiting += data
            if not self._take_head():
                return
            data, self._waiting = self._waiting, b""
        self._waiting += data if self._dechunker is None else self._dechunker.feed(data)
        *frames, self._waiting = self._waiting.split(b"\n\n")
        now = time.monotonic()
        for frame in frames:
            self._take_frame(frame, now)

    def _take_head(self) -> bool:
        head, end, rest = self._waiting.partition(b"\r\n\r\n")
        if not end:
            return False
        self._status = int(head.split(b" ", 2)[1])
        self._waiting = rest
        self._dechunker = Dechunker() if b"\r\nTransfer-Encoding: chunked" in head else None
        if self._status != 200:
            self.refusals.append(self._status)
            self._drop()
            return False
        return True

    def _take_frame(self, frame: bytes, now: float) -> None:
        if frame.startswith(b"id: "):
            self._take_event(frame, now)
        elif frame.startswith(b"event: heartbeat\n"):
            self.beats += 1
        elif frame.startswith(b"event: bye\n"):
            self.byes.append(frame)
            self.bye_at = now
        elif frame.startswith(b"retry: ") and b"\nevent: hello\n" in frame:
            self.hellos += 1
        else:
            self.strange.append(frame)

    def _take_event(self, frame: bytes, now: float) -> None:
        first, second = frame.split(b"\n", 2)[:2]
        self.cursor = int(first[4:])
        if second == b"event: reset":
            self.resets.append(self.cursor)
        else:
            self.ids.append(self.cursor)
            self.arrived.append(now)
            self.sums.append(crc32(frame))

    def _drop(self) -> None:
        assert self._socket is not None
        self._fleet.unwatch(self._socket)
        self._socket.close()
        self._socket = None
        self._come_again()

    def _come_again(self) -> None:
        if self.comes_back:
            self._fleet.connect_later(self, time.monotonic() + random.uniform(0, _PAUSE_S))


class Fleet:
    """All readers of one server."""

    def __init__(self, beacon: Beacon, host: str = "127.0.0.1") -> None:
        self.address = (host, beacon.port)
        self.readers: list[Reader] = []
        self._beacon = beacon
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[float, Reader]] = []
        self._watched: set[socket.socket] = set()

    def open(
        self,
        user: str = "alice",
        count: int = 1,
        *,
        after: int | None = None,
        path: str = EVENTS,
        comes_back: bool = True,
        receive_buffer: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Reader]:
        """Connect so many clients of a user, with a token or what `headers` say; `all_open` waits for them."""
        headers = headers or self._beacon.bearer(user, "stream")
        made = [Reader(self, user, path, headers, after) for _ in range(count)]
        for reader in made:
            reader.comes_back, reader.receive_buffer = comes_back, receive_buffer
            reader.connect()
            self.readers.append(reader)
            self.turn(0)
        return made

    def all_open(self, within_s: float = 20.0) -> None:
        self.until(lambda: all(reader.is_open and reader.hellos for reader in self.readers), "all streams", within_s)

    def all_have(self, event_id: int, within_s: float = 10.0, of: Sequence[Reader] = ()) -> None:
        """Every reader has read as far as this event, which must be one that all of them get."""
        readers = of or self.readers
        self.until(
            lambda: all((reader.cursor or 0) >= event_id for reader in readers),
            f"everybody to have event {event_id}",
            within_s,
        )

    def until(self, look: Callable[[], bool], what: str, within_s: float = 10.0) -> None:
        """Turn until `look()`, which is asked after each turn."""
        deadline = time.monotonic() + scaled(within_s)
        while not look():
            assert time.monotonic() < deadline, f"waited {within_s} s in vain for {what}"
            self.turn()

    def go_on_for(self, seconds: float) -> None:
        """For what takes time by its nature, such as a pace."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.turn()

    def turn(self, wait_s: float = 0.02) -> None:
        """Read whatever is there, and let those come again whose pause is over."""
        if self._due:
            self._connect_due()
        for key, _ in self._selector.select(wait_s):
            if key.fileobj in self._watched:
                key.data.read()

    def cut_all(self) -> None:
        """Everybody leaves for good."""
        for reader in self.readers:
            reader.comes_back = False
            reader.cut()
        self.readers.clear()
        self._due.clear()

    def watch(self, connection: socket.socket, reader: Reader) -> None:
        self._watched.add(connection)
        self._selector.register(connection, selectors.EVENT_READ, reader)

    def unwatch(self, connection: socket.socket) -> None:
        if connection in self._watched:
            self._watched.remove(connection)
            self._selector.unregister(connection)

    def connect_later(self, reader: Reader, at: float) -> None:
        self._due.append((at, reader))

    def _connect_due(self) -> None:
        now = time.monotonic()
        due = [reader for at, reader in self._due if at <= now]
        self._due = [(at, reader) for at, reader in self._due if at > now]
        for reader in due:
            if reader.comes_back:
                reader.connect()


@contextmanager
def fleet_of(beacon: Beacon, host: str = "127.0.0.1") -> Iterator[Fleet]:
    fleet = Fleet(beacon, host)
    try:
        yield fleet
    finally:
        fleet.cut_all()
        fleet._selector.close()

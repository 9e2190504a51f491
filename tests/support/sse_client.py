"""A Server-Sent Events client for tests: the standard's parser (WHATWG HTML, section 9.2.6), and a reader over it.

The parser is strict: what the standard tells a browser to ignore silently (an unknown field, a bad `retry`, bytes
that are not UTF-8) raises, because Beacon never sends it.
"""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.machine import scaled

PATIENCE_S = 5.0


class ProtocolError(AssertionError):
    """The server sent something that a client would ignore, or never end."""


class StreamEnded(AssertionError):
    """There is no further frame: the server closed the stream."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One dispatched event. `id` and `retry` only where this very frame carried them."""

    event: str
    data: str
    id: str | None = None
    retry: int | None = None

    def json(self) -> Any:
        return json.loads(self.data, parse_constant=_refuse)


class Parser:
    """Bytes in any split to frames; `last_event_id` is what a browser would send when it reconnects."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self._bytes = b""
        self._at_start = True
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None
        self._retry: int | None = None
        self._seen = False

    def feed(self, chunk: bytes) -> list[Frame]:
        self._bytes += chunk
        frames = []
        while (line := self._next_line()) is not None:
            frame = self._take(line.decode())
            if frame:
                frames.append(frame)
        return frames

    @property
    def is_between_frames(self) -> bool:
        """False in the middle of a frame, which a client would throw away."""
        return not self._bytes.strip(b"\r") and not self._seen

    def _next_line(self) -> bytes | None:
        """Up to LF, CR LF or CR; a CR at the very end waits, because an LF may follow."""
        if self._at_start and not b"\xef\xbb\xbf".startswith(self._bytes[:3]):
            self._at_start = False
        if self._at_start:
            if len(self._bytes) < 3:
                return None
            self._bytes, self._at_start = self._bytes[3:], False
        ends = [place for place in (self._bytes.find(b"\n"), self._bytes.find(b"\r")) if place >= 0]
        if not ends:
            return None
        end = min(ends)
        if self._bytes[end : end + 1] == b"\r" and end + 1 == len(self._bytes):
            return None
        width = 2 if self._bytes[end : end + 2] == b"\r\n" else 1
        line, self._bytes = self._bytes[:end], self._bytes[end + width :]
        return line

    def _take(self, line: str) -> Frame | None:
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            return None
        self._seen = True
        name, _, value = line.partition(":")
        self._field(name, value.removeprefix(" "))
        return None

    def _field(self, name: str, value: str) -> None:
        match name:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self._retry = int(value)
            case _:
                raise ProtocolError(f"field {name!r}: {value!r}")

    def _dispatch(self) -> Frame | None:
        frame = Frame(self._event or "message", "\n".join(self._data), self._id, self._retry)
        has_data = bool(self._data)
        self._event, self._data, self._id, self._retry, self._seen = "", [], None, None, False
        if frame.id is not None:
            self.last_event_id = frame.id
        return frame if has_data else None


class StreamReader:
    """Frames of a stream, whatever carries its bytes; no method waits for ever.

    A thread reads `chunks` until they end. `interrupt` makes a blocked read end (a socket's shutdown); without
    one, `close` waits for the next chunk. If `chunks` has a `close`, the thread that reads calls it.
    """

    def __init__(self, chunks: Iterable[bytes], interrupt: Callable[[], None] | None = None) -> None:
        self.parser = Parser()
        self.raw = b""
        self._chunks, self._interrupt = chunks, interrupt
        self._closing = threading.Event()
        self._frames: queue.SimpleQueue[Frame | BaseException | None] = queue.SimpleQueue()
        self._ended: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="sse-reader", daemon=True)
        self._thread.start()

    def __enter__(self) -> "StreamReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def next_frame(self, timeout_s: float = PATIENCE_S) -> Frame:
        """The next frame; `TimeoutError` if none comes, `StreamEnded` after the last."""
        return self._next(scaled(timeout_s))

    def _next(self, wait_s: float) -> Frame:
        if self._ended is not None:
            raise self._ended
        try:
            found = self._frames.get(timeout=wait_s)
        except queue.Empty:
            raise TimeoutError(f"no frame within {wait_s:.1f} s") from None
        if isinstance(found, Frame):
            return found
        self._ended = found or StreamEnded()
        raise self._ended

    def frames(self, count: int, timeout_s: float = PATIENCE_S, skip: Iterable[str] = ("heartbeat",)) -> list[Frame]:
        """The next `count` frames, those named in `skip` left out."""
        deadline, unwanted = time.monotonic() + scaled(timeout_s), set(skip)
        found: list[Frame] = []
        while len(found) < count:
            frame = self._next(max(0.0, deadline - time.monotonic()))
            if frame.event not in unwanted:
                found.append(frame)
        return found

    def until(self, event: str, timeout_s: float = PATIENCE_S) -> list[Frame]:
        """All frames up to and including the next one named `event`."""
        deadline = time.monotonic() + scaled(timeout_s)
        found: list[Frame] = []
        while not found or found[-1].event != event:
            found.append(self._next(max(0.0, deadline - time.monotonic())))
        return found

    def rest(self, timeout_s: float = PATIENCE_S) -> list[Frame]:
        """What still comes before the server ends the stream, which it must within `timeout_s`."""
        deadline = time.monotonic() + scaled(timeout_s)
        found: list[Frame] = []
        try:
            while True:
                found.append(self._next(max(0.0, deadline - time.monotonic())))
        except StreamEnded:
            return found

    def close(self) -> None:
        self._closing.set()
        if self._interrupt is not None:
            self._interrupt()
        self._thread.join(scaled(PATIENCE_S))
        if self._thread.is_alive():
            raise TimeoutError("the stream could not be closed: not even a heartbeat came")

    def _read(self) -> None:
        try:
            for chunk in self._chunks:
                self.raw += chunk
                for frame in self.parser.feed(chunk):
                    self._frames.put(frame)
                if self._closing.is_set():
                    break
            self._frames.put(None)
        except Exception as error:  # noqa: BLE001 -- whatever ended the stream is for the test to see
            self._frames.put(None if self._closing.is_set() else error)
        finally:
            close = getattr(self._chunks, "close", None)
            if close is not None:
                close()


def parse(body: bytes) -> list[Frame]:
    """The frames of a finite body, which must end with a whole one."""
    parser = Parser()
    frames = parser.feed(body)
    assert parser.is_between_frames, "the body ends inside a frame"
    return frames


def open_stream(client: FlaskClient, path: str = "/api/stream/events", **options: Any) -> StreamReader:
    """A stream that a test client asks for; the answer must be one."""
    return read_stream(client.get(path, buffered=False, **options))


def read_stream(response: TestResponse) -> StreamReader:
    """Read an answer that was asked for with `buffered=False`."""
    assert response.status_code == 200, response.text
    assert response.content_type == "text/event-stream; charset=utf-8"
    return StreamReader(_Body(response))


class _Body:
    """The chunks of a test client's answer; closing ends the application's iterator, as a server would."""

    def __init__(self, response: TestResponse) -> None:
        self._response = response

    def __iter__(self) -> Any:
        return iter(self._response.response)

    def close(self) -> None:
        self._response.close()


def _refuse(name: str) -> None:
    raise ProtocolError(f"{name} is not JSON")

"""An open stream, read whenever a case waits for something: no threads, and no wait without a bound."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from tests.contract.frames import Frame, Parser
from tests.contract.wire import (
    PATIENCE_S,
    Answer,
    Connection,
    Dechunker,
    Headers,
    Target,
    read_body,
    read_head,
    request_bytes,
)

T = TypeVar("T")

MAIN, RECONCILIATION, EVENTS, SSE = "/api/stream/events", "/reconciliation/stream", "/api/events/stream", "/api/sse"
PATHS = (MAIN, RECONCILIATION, EVENTS, SSE)


class Stream:
    """The answer to a request for a stream, whether it is one or a refusal (`refusal` is the answer then)."""

    def __init__(
        self,
        target: Target,
        path: str,
        headers: Headers,
        *,
        version: str = "1.1",
        body: bytes = b"",
        behind: bytes = b"",
    ) -> None:
        sent = {"Accept": "text/event-stream", **headers}
        self.path = path.partition("?")[0]
        self._connection = Connection(target)
        try:
            self._connection.send(request_bytes(target, "GET", path, sent, body, version) + behind)
            deadline = time.monotonic() + PATIENCE_S
            self.head, first = read_head(self._connection, deadline, path)
        except BaseException:
            self.close()
            raise
        self.status = self.head.status
        self.body = b""
        self.frames: list[Frame] = []
        self.ended = False
        self.refusal: Answer | None = None
        self._parser = Parser()
        self._dechunker = Dechunker() if self.head.is_chunked else None
        if self.status != 200:
            self.refusal = Answer(self.head, read_body(self._connection, "GET", self.head, first, deadline))
            self.close()
        elif first:  # else the head came alone
            self._take(first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def send(self, data: bytes) -> None:
        self._connection.send(data)

    def wait(self, look: Callable[[], T], what: str, within_s: float = PATIENCE_S) -> T:
        """The first truthy answer of `look`, asked again whenever more has come."""
        deadline = time.monotonic() + within_s
        while not (found := look()):
            assert not self.ended, f"the stream ended without {what}: {self.body[-500:]!r}"
            try:
                self._take(self._connection.receive(deadline))
            except TimeoutError:
                raise AssertionError(f"waited {within_s} s in vain for {what}: {self.body[-500:]!r}") from None
        return found

    def take_for(self, seconds: float) -> None:
        """Whatever still comes."""
        deadline = time.monotonic() + seconds
        with suppress(TimeoutError):
            while not self.ended:
                self._take(self._connection.receive(deadline))

    @property
    def ended_in_order(self) -> bool:
        """With the last chunk, where it came in chunks; the end of a connection does not tell."""
        return self.ended and (self._dechunker is None or self._dechunker.ended)

    @property
    def hello(self) -> Frame:
        return self.wait(lambda: self.frames[:1], "the first frame")[0]

    def event(self, event_id: int, within_s: float = PATIENCE_S) -> Frame:
        """The frame with this id, once it has come."""
        return self.wait(lambda: self.with_id(event_id), f"the event {event_id}", within_s)[0]

    def next_named(self, name: str, within_s: float = PATIENCE_S) -> Frame:
        """The next frame of this name that has not been there when it was asked for."""
        known = len(self.named(name))
        return self.wait(lambda: self.named(name)[known:], f"an event {name}", within_s)[0]

    def first_named(self, name: str, within_s: float = PATIENCE_S) -> Frame:
        return self.wait(lambda: self.named(name), f"an event {name}", within_s)[0]

    def until_ended(self, within_s: float = PATIENCE_S) -> None:
        self.wait(lambda: self.ended, "its end", within_s)

    def named(self, name: str) -> list[Frame]:
        return [frame for frame in self.frames if frame.event == name]

    def with_id(self, event_id: int) -> list[Frame]:
        return [frame for frame in self.frames if frame.id == event_id and frame.event != "reset"]

    @property
    def ids(self) -> list[int]:
        """The ids of all events in the order in which they came."""
        return [frame.id for frame in self.frames if frame.id is not None and frame.event != "reset"]

    def ids_among(self, published: Iterable[int]) -> list[int]:
        wanted = set(published)
        return [event_id for event_id in self.ids if event_id in wanted]

    def _take(self, data: bytes) -> None:
        if not data:
            self.ended = True
            return
        if self._dechunker is not None:
            data = self._dechunker.feed(data)
            self.ended = self._dechunker.ended
            assert not self._dechunker.rest, f"behind the last chunk: {self._dechunker.rest!r}"
        self.body += data
        self.frames += self._parser.feed(data)

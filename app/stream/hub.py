"""From the tail to the subscribers of this worker. Only the tail calls `deliver`: what is not logged is not sent."""

import threading
from collections.abc import Callable, Sequence

from app.eventlog.read import Event
from app.stream.shapes import Shape
from app.stream.subscriber import Subscriber


class Hub:
    """`may_stream(user)` answers whether the flag lets this user stream; asked again whenever a flag changes."""

    def __init__(self, may_stream: Callable[[str], bool]) -> None:
        self._may_stream = may_stream
        self._subscribers: set[Subscriber] = set()
        self._lock = threading.Lock()
        self.cursor = 0
        self.draining = False

    def __len__(self) -> int:
        return len(self._subscribers)

    def add(self, subscriber: Subscriber) -> None:
        """The flag is asked again: it may have changed since the request was let in."""
        with self._lock:
            self._subscribers.add(subscriber)
            if self.draining:
                subscriber.close("drain")
            elif not self._may_stream(subscriber.reader.viewer.name):
                subscriber.close("flag-off")

    def remove(self, subscriber: Subscriber) -> None:
        with self._lock:
            self._subscribers.discard(subscriber)

    def go_live(self, subscriber: Subscriber) -> None:
        """Switch from replay to live if nothing lies between: else the caller reads the log once more."""
        with self._lock:
            subscriber.live = subscriber.cursor >= self.cursor

    def deliver(self, events: Sequence[Event], cursor: int) -> None:
        """The tail's listener: encode each event once a shape and queue it wherever it fits."""
        with self._lock:
            if cursor < self.cursor:
                self._start_over()
            try:
                for event in events:
                    self._take(event)
            except Exception:
                # Whoever was not served yet reads the log again from its own cursor.
                for subscriber in self._subscribers:
                    subscriber.fall_behind()
                raise
            finally:
                self.cursor = cursor

    def ask_flag(self) -> None:
        """Say goodbye to whom the flag no longer lets stream."""
        with self._lock:
            self._ask_flag()

    def drain(self) -> None:
        """No new streams; say goodbye to those that are open."""
        with self._lock:
            self.draining = True
            for subscriber in self._subscribers:
                subscriber.close("drain")

    def _take(self, event: Event) -> None:
        if event.audience == "control":
            self._apply(event)
            return
        self._fan_out(event)
        if event.type == "flag.changed":
            self._ask_flag()

    def _start_over(self) -> None:
        """An older database was put back: cursors above its head are answered with a `reset` on reconnecting."""
        for subscriber in self._subscribers:
            subscriber.close("drain")

    def _fan_out(self, event: Event) -> None:
        frames: dict[Shape, bytes | None] = {}
        for subscriber in self._subscribers:
            if not subscriber.live or not subscriber.wants(event.type, event.audience):
                continue
            shape = subscriber.reader.shape
            if shape not in frames:
                frames[shape] = shape(event)
            frame = frames[shape]
            if frame is not None:
                subscriber.offer(event.id, frame)

    def _apply(self, event: Event) -> None:
        for subscriber in self._subscribers:
            if is_revoked(subscriber, event):
                subscriber.close("revoked")

    def _ask_flag(self) -> None:
        for subscriber in self._subscribers:
            if not self._may_stream(subscriber.reader.viewer.name):
                subscriber.close("flag-off")


def is_revoked(subscriber: Subscriber, event: Event) -> bool:
    """Whether a control event ends this stream. One from before its credential was checked does not."""
    reader = subscriber.reader
    if event.id <= reader.head:
        return False
    match event.type:
        case "control.session_ended":
            return reader.login_id is not None and event.data["session"] == reader.login_id
        case "control.token_revoked":
            return reader.token_id is not None and event.data["token"] == reader.token_id
        case "control.user_changed":
            return bool(event.data["user"] == reader.viewer.name)
    return False

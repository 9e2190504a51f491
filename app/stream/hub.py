"""From the tail to the readers of this worker. Only the tail calls `deliver`: what is not logged is not sent."""

import threading
import time
from collections.abc import Callable, Sequence

from app.eventlog.reader import Event
from app.infra.concurrency import TimeSlice
from app.infra.logs import log_stream_event
from app.stream.control import Opening
from app.stream.counters import Counters
from app.stream.ring_buffer import RingBuffer
from app.stream.subscriber import Subscriber


class Hub:
    """Who reads, and what is new. `may_stream(user)` answers whether the flag lets this user stream.

    `deliver` only notes and wakes: the rounds send. Nothing here waits for a reader.
    """

    def __init__(self, may_stream: Callable[[str], bool], ring: RingBuffer | None = None) -> None:
        self._may_stream = may_stream
        self._subscribers: dict[Subscriber, None] = {}
        self._lock = threading.Lock()
        self.ring = RingBuffer() if ring is None else ring  # an empty one is falsy
        self.counters = Counters()
        self.has_news = threading.Event()
        self.cursor = 0
        self.restarts = 0
        """How often the log went back: its ids are others since."""
        self.draining = False
        self.flag_version = 0
        """Counts what may have changed the flag's answers."""
        self._flag_checked = 0
        self._begun = False

    def __len__(self) -> int:
        return len(self._subscribers)

    def snapshot(self) -> list[Subscriber]:
        """The readers of this moment."""
        with self._lock:
            return list(self._subscribers)

    def add(self, subscriber: Subscriber, opening: Opening) -> None:
        """A stream is open; it stands behind until `go_live`."""
        with self._lock:
            self._subscribers[subscriber] = None
        shape = subscriber.reader.shape.name
        self.counters.open[shape] += 1
        self.counters.opens[shape] += 1
        self.counters.resumes[opening.outcome] += 1
        start = opening.start
        log_stream_event("open", user=opening.reader.viewer.name, after=start.after, head=start.head, reset=start.reset)

    def check_admission(self, subscriber: Subscriber, opening: Opening) -> None:
        """Once it is added: what let the request in may have changed since."""
        if self.draining:
            subscriber.close("drain")
        elif opening.flag_version != self.flag_version and not self._may_stream(subscriber.reader.viewer.name):
            subscriber.close("flag-off")

    def remove(self, subscriber: Subscriber, reason: str) -> bool:
        """The stream is over; False if it was already. `reason` is its goodbye, or what happened instead."""
        with self._lock:
            if subscriber not in self._subscribers:
                return False
            del self._subscribers[subscriber]
        self.counters.open[subscriber.reader.shape.name] -= 1
        self.counters.closes[reason] += 1
        seconds = round(time.monotonic() - subscriber.opened_at, 1)
        user = subscriber.reader.viewer.name
        log_stream_event("close", user=user, reason=reason, last=subscriber.cursor, seconds=seconds)
        if subscriber.on_end is not None:
            subscriber.on_end()
        return True

    def go_live(self, subscriber: Subscriber) -> bool:
        """Switch from replay to live if nothing lies between: else the caller reads on."""
        with self._lock:
            subscriber.live = subscriber.close_reason is None and subscriber.cursor >= self.cursor
            return subscriber.live

    def deliver(self, events: Sequence[Event], cursor: int) -> None:
        """The tail's listener: remember what came, apply control events, wake the rounds."""
        if not self._begun and not events:
            self.ring.clear(cursor)  # the tail's first word: where it begins
        self._begun = True
        goes_back = cursor < self.cursor
        if goes_back:
            self._start_over(cursor)
        for event in events:
            self.ring.add(event)
        for event in events:
            if event.audience == "control":
                self._apply(event)
            elif event.type == "flag.changed":
                self.request_flag_check()
        with self._lock:
            self.cursor = cursor  # only now may rounds on another thread send what lies behind a revocation
            self.restarts += goes_back
        self.has_news.set()

    def request_flag_check(self) -> None:
        """Have every reader's flag asked again soon: thousands of evaluations are not for the tail's own thread."""
        self.flag_version += 1

    def check_flags(self) -> None:
        """Say goodbye to whom the flag no longer lets stream; each user is asked about once."""
        if self._flag_checked == self.flag_version:
            return
        self._flag_checked = self.flag_version
        answers: dict[str, bool] = {}
        pace = TimeSlice()
        for subscriber in self.snapshot():
            user = subscriber.reader.viewer.name
            if user not in answers:
                answers[user] = self._may_stream(user)
                pace()
            if not answers[user]:
                subscriber.close("flag-off")
                pace()

    def drain(self) -> None:
        """No new streams; say goodbye to those that are open, all at once."""
        self.draining = True
        for subscriber in self.snapshot():
            subscriber.close("drain")

    def _start_over(self, cursor: int) -> None:
        """An older database was put back: whoever stands above its head comes again, and is answered with a `reset`."""
        self.ring.clear(cursor)
        for subscriber in self.snapshot():
            subscriber.close("drain")

    def _apply(self, event: Event) -> None:
        for subscriber in self.snapshot():
            if is_revoked(subscriber, event):
                subscriber.close("revoked")


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

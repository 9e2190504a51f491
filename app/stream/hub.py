"""Holds this worker's subscribers and new events. Only the tail calls `deliver`: what is not logged is not sent."""

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
    """Subscribers and new events. `may_stream(user)` returns whether the flag lets this user stream.

    `deliver` only records events and wakes the broadcaster, which sends. Nothing here waits for a subscriber.
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
        """How often the log was replaced by an older one. Ids before and after a restart are not comparable."""
        self.draining = False
        self.flag_version = 0
        """Incremented by everything that may have changed the flag's result."""
        self._flag_checked = 0
        self._begun = False

    def __len__(self) -> int:
        return len(self._subscribers)

    def snapshot(self) -> list[Subscriber]:
        """Return the current subscribers."""
        with self._lock:
            return list(self._subscribers)

    def add(self, subscriber: Subscriber, opening: Opening) -> None:
        """Register an open stream; it is lagging until `go_live`."""
        with self._lock:
            self._subscribers[subscriber] = None
        event_format = subscriber.reader.event_format.name
        self.counters.open[event_format] += 1
        self.counters.opens[event_format] += 1
        self.counters.resumes[opening.outcome] += 1
        start = opening.start
        log_stream_event("open", user=opening.reader.viewer.name, after=start.after, head=start.head, reset=start.reset)

    def check_admission(self, subscriber: Subscriber, opening: Opening) -> None:
        """Check a newly added stream again: the conditions that admitted it may have changed since."""
        if self.draining:
            subscriber.close("drain")
        elif opening.flag_version != self.flag_version and not self._may_stream(subscriber.reader.viewer.name):
            subscriber.close("flag-off")

    def remove(self, subscriber: Subscriber, reason: str) -> bool:
        """Unregister an ended stream; False if it already was. `reason`: a `CloseReason`, `client-gone` or `error`."""
        with self._lock:
            if subscriber not in self._subscribers:
                return False
            del self._subscribers[subscriber]
        self.counters.open[subscriber.reader.event_format.name] -= 1
        self.counters.closes[reason] += 1
        seconds = round(time.monotonic() - subscriber.opened_at, 1)
        user = subscriber.reader.viewer.name
        log_stream_event("close", user=user, reason=reason, last=subscriber.cursor, seconds=seconds)
        if subscriber.on_end is not None:
            subscriber.on_end()
        return True

    def go_live(self, subscriber: Subscriber) -> bool:
        """Switch from replay to live if nothing was missed in between. If it returns False, the caller reads on."""
        with self._lock:
            subscriber.live = subscriber.close_reason is None and subscriber.cursor >= self.cursor
            return subscriber.live

    def deliver(self, events: Sequence[Event], cursor: int) -> None:
        """The tail's listener: buffer new events, apply control events, wake the broadcaster."""
        if not self._begun and not events:
            self.ring.clear(cursor)  # the tail's first call only says where it begins
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
            self.cursor = cursor  # only now may a round on another thread send events that follow a revocation
            self.restarts += goes_back
        self.has_news.set()

    def request_flag_check(self) -> None:
        """Schedule a flag check for all subscribers: thousands of evaluations must not run on the tail's thread."""
        self.flag_version += 1

    def check_flags(self) -> None:
        """Close streams that the flag no longer allows. The flag is evaluated once per user."""
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
        """Refuse new streams and close all open ones at once."""
        self.draining = True
        for subscriber in self.snapshot():
            subscriber.close("drain")

    def _start_over(self, cursor: int) -> None:
        """Handle a restored older database: clients reconnect, and those above its head get a `reset`."""
        self.ring.clear(cursor)
        for subscriber in self.snapshot():
            subscriber.close("drain")

    def _apply(self, event: Event) -> None:
        for subscriber in self.snapshot():
            if is_revoked(subscriber, event):
                subscriber.close("revoked")


def is_revoked(subscriber: Subscriber, event: Event) -> bool:
    """True if a control event ends this stream. An event from before its credential was checked does not."""
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

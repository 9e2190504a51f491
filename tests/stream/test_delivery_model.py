"""The promise, against a model: whatever interleaves, a reader gets its audience's events once and in order.

The model is the list of what was appended. Rules append, let the tail deliver, let the reader take a step, cut the
reader off and let it come back with its last id; appends and deliveries also happen in the middle of a replay,
before and after its look at the log, where going live could lose or repeat something. Queues and pages are tiny.
"""

from collections.abc import Collection
from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.eventlog.audience import CONTROL, EVERYONE
from app.eventlog.cursor import start
from app.eventlog.read import Event, Page
from app.stream import feed as feeds
from app.stream.feed import Feed, Rhythm
from app.stream.hub import Hub
from tests.cast import ALICE
from tests.sse_client import Parser
from tests.stream.readers import event, subscriber

PAGE = 2
QUEUE_BYTES = 250  # two or three frames

AUDIENCE = st.sampled_from([EVERYONE, EVERYONE, "user:alice", "role:operator", "role:viewer", CONTROL])
TYPE = st.sampled_from(["job.a", "job.b", "other"])
ACTION = st.one_of(
    st.tuples(st.just("append"), AUDIENCE, TYPE),
    st.tuples(st.just("deliver"), st.integers(1, 4), st.none()),
)
ACTIONS = st.lists(ACTION, max_size=4)


class Delivery(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patches: list[Any] = [
            mock.patch("app.stream.subscriber.MAX_QUEUED_BYTES", QUEUE_BYTES),
            mock.patch.object(feeds, "DATABASE_RETRY_S", 0.0),
            mock.patch.object(feeds, "sse_line"),
        ]
        for patch in self.patches:
            patch.start()
        self.log: list[Event] = []
        self.hub = Hub(lambda _user: True)
        self.received: list[int] = []
        self.before: list[Any] = []
        self.behind: list[Any] = []
        self.away = False

    @initialize(topics=st.sampled_from([None, "job.*", "job.a,other"]), already=ACTIONS)
    def begin(self, topics: str | None, already: list[Any]) -> None:
        self.topics = topics
        self.act(already)
        self.cursor = self.first = self.head()
        self.open()

    @rule(action=ACTION)
    def something_happens(self, action: Any) -> None:
        self.act([action])

    @rule(before=ACTIONS, behind=ACTIONS, away=st.sampled_from([False, False, False, True]))
    def plan_for_the_next_look_at_the_log(self, before: list[Any], behind: list[Any], away: bool) -> None:
        self.before, self.behind, self.away = before, behind, away

    @rule()
    def the_reader_takes_a_step(self) -> None:
        for frame in self.parser.feed(next(self.frames)):
            if frame.id is not None:
                self.received.append(int(frame.id))
                self.cursor = int(frame.id)

    @rule()
    def the_connection_breaks_and_the_client_resumes(self) -> None:
        self.frames.close()
        self.open()

    @invariant()
    def nothing_is_lost_repeated_or_out_of_order(self) -> None:
        expected = self.expected()
        assert self.received == expected[: len(self.received)]

    def teardown(self) -> None:
        try:
            if hasattr(self, "frames"):
                self.before, self.behind, self.away = [], [], False
                self.act([("deliver", len(self.log), None)])
                for _ in range(2 * len(self.log) + 20):
                    self.the_reader_takes_a_step()
                assert self.received == self.expected()
                assert len(self.hub) == 1
                self.frames.close()
                assert len(self.hub) == 0
        finally:
            for patch in self.patches:
                patch.stop()

    def expected(self) -> list[int]:
        reader = subscriber(ALICE, topics=getattr(self, "topics", None))
        return [e.id for e in self.log if e.id > getattr(self, "first", 0) and reader.wants(e.type, e.audience)]

    def open(self) -> None:
        begin = start(str(self.cursor), self.head(), floor=0)
        reader = subscriber(ALICE, begin.after, begin.head, self.topics)
        feed = Feed(self.hub, reader, begin, {}, self.look, Rhythm(0, 1e9), lambda: False)
        self.frames: Any = iter(feed)
        self.parser = Parser()
        next(self.frames)

    def act(self, actions: list[Any]) -> None:
        for kind, what, event_type in actions:
            if kind == "append":
                data = {"user": "bob"} if what == CONTROL else {}
                self.log.append(event(self.head() + 1, "control.user_changed" if data else event_type, what, **data))
            else:
                page = self.log[self.hub.cursor : self.hub.cursor + what]
                if page:
                    self.hub.deliver(page, page[-1].id)

    def head(self) -> int:
        return len(self.log)

    def look(self, cursor: int, audiences: Collection[str]) -> Page:
        before, behind, away = self.before, self.behind, self.away
        self.before, self.behind, self.away = [], [], False
        self.act(before)
        if away:
            raise OSError("the database is away")
        found = [e for e in self.log[cursor:] if e.audience in audiences][:PAGE]
        full = len(found) == PAGE
        page = Page(found, found[-1].id if full else self.head(), full)
        self.act(behind)
        return page


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)

"""What is new goes to everybody who is live, round after round."""

import logging
import threading
from collections.abc import Callable, Sequence

import pytest

from app.eventlog.reader import Event
from app.stream import formats
from app.stream.broadcaster import Broadcaster
from app.stream.chunks import Chunk
from app.stream.formats import EventFormat
from app.stream.hub import Hub
from app.stream.queue_subscriber import QueuedSubscriber
from app.stream.ring_buffer import BufferedEvent, RingBuffer
from tests.stream.readers import add, control, event, events, ids_in, joined, reader, subscriber, taken
from tests.support.cast import ADA, ALICE, BOB, CHARLIE, Person
from tests.support.clock import own_time
from tests.support.waiting import wait_for


class Noting(QueuedSubscriber):
    """Remembers the chunks themselves; `during` is called before each of them is taken."""

    def __init__(self, person: Person = ALICE, after: int = 0, topics: str | None = None) -> None:
        super().__init__(reader(person, topics=topics), after)
        self.chunks: list[Chunk] = []
        self.during: Callable[[], object] | None = None

    def push(self, chunk: Chunk) -> bool:
        happens, self.during = self.during, None
        if happens:
            happens()
        taken = super().push(chunk)
        if taken:
            self.chunks.append(chunk)
        return taken

    @property
    def ids(self) -> list[int]:
        return [one for chunk in self.chunks for one in ids_in(chunk.data)]


@pytest.fixture
def hub() -> Hub:
    return Hub(lambda _user: True)


@pytest.fixture
def rounds(hub: Hub) -> Broadcaster:
    return Broadcaster(hub)


def noting(hub: Hub, person: Person = ALICE, after: int = 0, topics: str | None = None) -> Noting:
    made = Noting(person, after, topics)
    joined(hub, made)
    return made


def tell(hub: Hub, *new: Event) -> None:
    hub.deliver(new, new[-1].id)


class TestJoining:
    def test_readers_alike_get_the_very_same_bytes(self, hub: Hub, rounds: Broadcaster) -> None:
        first, second = noting(hub), noting(hub, BOB)
        tell(hub, *events(1, 3))
        rounds.send()
        assert first.chunks[0].data is second.chunks[0].data
        assert first.chunks == [(first.chunks[0].data, 0, 3, 3)]

    def test_readers_with_audiences_alike_get_the_same_bytes_where_not_all_is_for_everyone(
        self, hub: Hub, rounds: Broadcaster
    ) -> None:
        alice, charlie, bob = noting(hub), noting(hub, CHARLIE), noting(hub, BOB)
        tell(hub, event(1), event(2, "a", "role:viewer"), event(3, "a", "role:operator"))
        rounds.send()
        assert alice.chunks[0].data is charlie.chunks[0].data
        assert (alice.ids, bob.ids) == ([1, 2], [1, 3])

    def test_somebody_elses_event_does_not_keep_readers_apart(self, hub: Hub, rounds: Broadcaster) -> None:
        alice, bob = noting(hub), noting(hub, BOB)
        tell(hub, event(1), event(2, "a", "user:pia"))
        rounds.send()
        assert alice.chunks[0].data is bob.chunks[0].data

    def test_topics_keep_readers_apart(self, hub: Hub, rounds: Broadcaster) -> None:
        every, some, same = noting(hub), noting(hub, topics="job.*"), noting(hub, topics="job.*")
        tell(hub, event(1, "job.a"), event(2, "b"))
        rounds.send()
        assert (every.ids, some.ids) == ([1, 2], [1])
        assert some.chunks[0].data is same.chunks[0].data

    def test_what_came_since_the_last_round_goes_out_as_one(self, hub: Hub, rounds: Broadcaster) -> None:
        made = noting(hub)
        for number in (1, 2, 3):
            tell(hub, event(number))
        rounds.send()
        tell(hub, event(4))
        rounds.send()
        assert [(one.after, one.upto, one.events) for one in made.chunks] == [(0, 3, 3), (3, 4, 1)]

    def test_much_goes_out_in_chunks_that_continue_each_other(self, hub: Hub, rounds: Broadcaster) -> None:
        made = noting(hub)
        tell(hub, *(event(number, text="x" * 20_000) for number in range(1, 8)))
        for _ in range(3):
            rounds.send()
            made.take(0)
            hub.deliver([], hub.cursor)
        assert made.ids[:3] == [1, 2, 3]
        assert not made.live  # its queue was full

    def test_nothing_for_this_reader_still_moves_its_cursor(self, hub: Hub, rounds: Broadcaster) -> None:
        made = noting(hub)
        tell(hub, event(1, "a", "user:bob"), control(2, "user_changed", user="nobody"))
        rounds.send()
        assert (made.cursor, made.ids, made.live) == (2, [], True)

    def test_without_news_nothing_is_sent(self, hub: Hub, rounds: Broadcaster) -> None:
        made = noting(hub)
        rounds.send()
        tell(hub, event(1))
        rounds.send()
        rounds.send()
        assert made.ids == [1]


class TestMeanwhile:
    def test_a_reader_that_goes_live_in_the_middle_of_a_round_gets_the_rest_of_it(
        self, hub: Hub, rounds: Broadcaster
    ) -> None:
        tell(hub, *events(1, 2))
        late = noting(hub, after=2)
        tell(hub, *events(3, 4))
        rounds.send()
        assert late.ids == [3, 4]

    def test_a_reader_ahead_of_a_round_gets_what_is_above_its_cursor(self, hub: Hub, rounds: Broadcaster) -> None:
        ahead = noting(hub, after=3)
        tell(hub, *events(1, 5))
        rounds.send()
        assert ahead.ids == [4, 5]

    def test_what_comes_during_a_round_goes_out_with_the_next(self, hub: Hub, rounds: Broadcaster) -> None:
        first, second = noting(hub), noting(hub)
        first.during = lambda: tell(hub, event(2))
        tell(hub, event(1))
        rounds.send()
        assert [(one.after, one.upto) for one in second.chunks] == [(0, 1), (1, 2)]
        assert first.ids == second.ids == [1, 2]

    def test_a_reader_that_joins_during_a_round_misses_and_repeats_nothing(self, hub: Hub, rounds: Broadcaster) -> None:
        first, late = noting(hub), Noting(after=1)

        def join() -> None:
            tell(hub, event(2))
            add(hub, late)
            late.cursor = 2  # it was read to
            hub.go_live(late)

        first.during = join
        tell(hub, event(1))
        rounds.send()
        tell(hub, event(3))
        rounds.send()
        assert (first.ids, late.ids) == ([1, 2, 3], [3])

    def test_a_reader_that_is_told_goodbye_during_a_round_gets_no_more(self, hub: Hub, rounds: Broadcaster) -> None:
        first, second = noting(hub), noting(hub)
        first.during = lambda: second.close("revoked")
        tell(hub, event(1))
        rounds.send()
        assert second.ids == []

    def test_one_that_stands_behind_the_round_is_put_behind(self, hub: Hub, rounds: Broadcaster) -> None:
        tell(hub, *events(1, 3))
        rounds.send()
        odd = noting(hub, after=3)
        odd.cursor = 1
        tell(hub, event(4))
        rounds.send()
        assert (odd.live, odd.cursor, odd.ids) == (False, 1, [])

    def test_nothing_is_sent_before_the_revocation_in_the_same_delivery_is_applied(self, hub: Hub) -> None:
        """On real threads the rounds may run as soon as they are woken."""
        rounds = Broadcaster(hub)
        hub.has_news = Prompt(rounds.send)
        alice, bob = noting(hub), noting(hub, BOB)
        tell(hub, control(1, "user_changed", user="alice"), event(2))
        assert (alice.ids, bob.ids) == ([], [2])


class Prompt(threading.Event):
    """Does what it wakes somebody for at once."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act = act

    def set(self) -> None:
        self._act()


class TestBounds:
    def test_more_at_once_than_the_ring_holds_puts_everybody_behind(self) -> None:
        hub = Hub(lambda _user: True, RingBuffer(max_events=3))
        rounds, made = Broadcaster(hub), noting(hub)
        tell(hub, *events(1, 5))
        rounds.send()
        assert (made.live, made.cursor, made.ids) == (False, 0, [])

    def test_as_much_as_the_ring_holds_is_sent(self) -> None:
        hub = Hub(lambda _user: True, RingBuffer(max_events=3))
        rounds, made = Broadcaster(hub), noting(hub)
        tell(hub, *events(1, 3))
        rounds.send()
        assert (made.live, made.ids) == (True, [1, 2, 3])

    def test_events_that_the_ring_drops_while_a_round_looks_are_not_missed(self) -> None:
        """On real threads the tail may go on between any two steps of the rounds."""
        ring = Moving(max_events=3)
        hub = Hub(lambda _user: True, ring)
        rounds, made = Broadcaster(hub), noting(hub)
        tell(hub, *events(1, 3))
        ring.meanwhile = lambda: tell(hub, *events(4, 6))
        rounds.send()
        assert made.ids == list(range(1, made.cursor + 1))

    def test_events_that_come_while_a_round_looks_go_out_once(self) -> None:
        ring = Moving()
        hub = Hub(lambda _user: True, ring)
        rounds, made = Broadcaster(hub), noting(hub)
        tell(hub, event(1))
        ring.meanwhile = lambda: tell(hub, *events(2, 3))
        rounds.send()
        assert made.ids == [1, 2, 3]


class Moving(RingBuffer):
    """A ring to which something is added right before the next look."""

    meanwhile: Callable[[], object] | None = None

    def after(self, cursor: int, limit: int | None = None) -> Sequence[BufferedEvent]:
        happens, self.meanwhile = self.meanwhile, None
        if happens:
            happens()
        return super().after(cursor, limit)


class TestFailing:
    def test_a_round_that_fails_is_logged_and_whoever_missed_it_is_behind(
        self, hub: Hub, rounds: Broadcaster, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(found: Event) -> bytes:
            raise KeyError(found.id)

        served, failing, behind = noting(hub), subscriber(event_format=EventFormat("broken", broken)), noting(hub, BOB)
        joined(hub, failing)
        hub.remove(behind, "x")
        add(hub, behind)  # after the failing one
        behind.live = True
        with caplog.at_level(logging.ERROR, "app.stream.broadcaster"):
            tell(hub, event(1))
            rounds.send()
        assert "broadcast of ids 0 to 1 failed" in caplog.text
        assert (served.ids, served.live) == ([1], True)
        assert [(one.live, one.cursor) for one in (failing, behind)] == [(False, 0)] * 2

    def test_the_rounds_go_on_after_a_failure(self, hub: Hub, rounds: Broadcaster) -> None:
        made = noting(hub)

        def fail() -> None:
            raise KeyError("mine")

        made.during = fail
        tell(hub, event(1))
        rounds.send()
        made.cursor = 1
        hub.go_live(made)
        tell(hub, event(2))
        rounds.send()
        assert made.ids == [2]


class TestCounting:
    def test_one_event_to_one_reader_is_one_delivery(self, hub: Hub, rounds: Broadcaster) -> None:
        for person in (ALICE, BOB, ADA):
            noting(hub, person)
        tell(hub, event(1), event(2, "a", "role:operator"))
        rounds.send()
        assert hub.counters.deliveries == 3 + 2
        assert sum(hub.counters.lag.counts) == 5

    def test_lag_is_the_time_since_the_events_were_appended(
        self, hub: Hub, rounds: Broadcaster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        noting(hub)
        tell(hub, *events(1, 2))
        appended = hub.ring.after(0)[0].appended_at
        own_time(monkeypatch, "app.stream.broadcaster", time=lambda: appended + 0.3)
        rounds.send()
        assert hub.counters.lag.sum_s == pytest.approx(0.6)

    def test_thousands_of_readers_are_all_counted_though_the_round_rests(self, hub: Hub, rounds: Broadcaster) -> None:
        for _ in range(3_000):
            joined(hub, subscriber())
        tell(hub, *(event(number, text="x" * 50) for number in range(1, 6)))
        rounds.send()
        assert hub.counters.deliveries == 15_000
        assert sum(hub.counters.lag.counts) == 15_000


class TestRunning:
    def test_its_thread_sends_as_soon_as_something_is_new_and_ends_when_stopped(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.stream.broadcaster.MAX_IDLE_S", 3_600)  # so that only being woken helps
        rounds, made = Broadcaster(hub), noting(hub)
        rounds.start()
        tell(hub, event(1))
        wait_for(lambda: made.ids == [1])
        rounds.stop()
        assert rounds._thread is not None
        assert not rounds._thread.is_alive()

    def test_a_shape_is_asked_once_for_all_rounds_readers_and_replays(self, hub: Hub, rounds: Broadcaster) -> None:
        calls: list[int] = []

        def encode(found: Event) -> bytes | None:
            calls.append(found.id)
            return formats.JSON_FORMAT(found)

        shape = EventFormat("counted", encode)
        for person in (ALICE, BOB):
            joined(hub, subscriber(person, event_format=shape))
        tell(hub, event(1), event(2, "a", "role:operator"))
        rounds.send()
        assert sorted(calls) == [1, 2]
        assert taken(joined(hub, subscriber(after=2, event_format=shape))) == []

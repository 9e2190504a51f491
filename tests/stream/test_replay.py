"""What a reader has missed, a chunk at a time: from the ring, or from the log."""

from collections.abc import Callable, Collection, Sequence

import pytest

from app.eventlog.reader import CursorPruned, EventPage
from app.stream.chunks import MAX_CHUNK_BYTES, Chunk
from app.stream.hub import Hub
from app.stream.queue_subscriber import QueuedSubscriber
from app.stream.replay import MAX_ENTRIES_PER_CHUNK, LogUnavailable, Replay
from app.stream.ring_buffer import BufferedEvent, RingBuffer
from tests.stream.readers import FakeLog, add, control, event, events, ids_in, subscriber
from tests.support.cast import BOB


class Telling:
    """A hub whose tail has read `log`, and a replay over both."""

    def __init__(self, log: FakeLog, ring: RingBuffer | None = None, head: int | None = None) -> None:
        self.log = log
        self.hub = Hub(lambda _user: True, ring)
        if head is None:
            self.hub.deliver(log.events, log.head)
        else:
            self.hub.deliver((), head)
        self.replay = Replay(self.hub, log)

    def all_for(self, made: QueuedSubscriber) -> list[Chunk]:
        """Chunk after chunk until it is live."""
        found = []
        while not self.hub.go_live(made):
            found.append(self.replay.next(made))
            made.cursor = found[-1].upto
            assert len(found) < 1_000, "it leads nowhere"
        return found


def ids(chunks: list[Chunk]) -> list[int]:
    return [one for chunk in chunks for one in ids_in(chunk.data)]


def test_what_the_ring_holds_needs_no_look_at_the_log() -> None:
    telling = Telling(FakeLog(*events(1, 9)))
    assert ids(telling.all_for(subscriber(after=4))) == [5, 6, 7, 8, 9]
    assert telling.log.reads == 0


def test_the_ring_serves_exactly_down_to_its_floor() -> None:
    telling = Telling(FakeLog(*events(1, 9)), RingBuffer(max_events=4))
    assert ids(telling.all_for(subscriber(after=5))) == [6, 7, 8, 9]
    assert telling.log.reads == 0
    assert ids(telling.all_for(subscriber(after=4))) == [5, 6, 7, 8, 9]
    assert telling.log.reads == 1


def test_the_log_is_read_page_by_page_until_the_ring_takes_over() -> None:
    telling = Telling(FakeLog(*events(1, 20), page=3), RingBuffer(max_events=8))
    chunks = telling.all_for(subscriber())
    assert ids(chunks) == list(range(1, 21))
    assert [(one.after, one.upto) for one in chunks] == [(0, 3), (3, 6), (6, 9), (9, 12), (12, 20)]
    assert telling.log.reads == 4


@pytest.mark.parametrize("ring", [RingBuffer(), RingBuffer(max_events=1)], ids=["ring", "log"])
def test_audience_and_topics_choose(ring: RingBuffer) -> None:
    log = FakeLog(
        event(1, "job.a"), event(2, "b"), event(3, "job.a", "user:bob"), event(4, "job.b", "role:operator"), event(5)
    )
    telling = Telling(log, ring)
    assert ids(telling.all_for(subscriber(topics="job.*"))) == [1]
    assert ids(telling.all_for(subscriber(BOB, topics="job.*"))) == [1, 3, 4]


def test_the_end_of_the_last_page_is_the_head_even_if_nothing_on_it_was_for_this_reader() -> None:
    telling = Telling(FakeLog(event(1), *(event(number, "a", "user:bob") for number in range(2, 9))), head=8)
    chunks = telling.all_for(subscriber())
    assert [(one.upto, one.events) for one in chunks] == [(8, 1)]


def test_many_entries_of_others_are_walked_a_part_at_a_time() -> None:
    log = FakeLog(*(event(number, "a", "user:bob") for number in range(1, 2 * MAX_ENTRIES_PER_CHUNK + 2)))
    chunks = Telling(log).all_for(subscriber())
    assert [(one.after, one.upto, one.data) for one in chunks] == [
        (0, MAX_ENTRIES_PER_CHUNK, b""),
        (MAX_ENTRIES_PER_CHUNK, 2 * MAX_ENTRIES_PER_CHUNK, b""),
        (2 * MAX_ENTRIES_PER_CHUNK, 2 * MAX_ENTRIES_PER_CHUNK + 1, b""),
    ]


@pytest.mark.parametrize("ring", [RingBuffer(), RingBuffer(max_events=1)], ids=["ring", "log"])
def test_a_chunk_ends_at_64_kib_and_the_next_goes_on_there(ring: RingBuffer) -> None:
    log = FakeLog(*(event(number, text="x" * 20_000) for number in range(1, 11)))
    chunks = Telling(log, ring).all_for(subscriber())
    assert ids(chunks) == list(range(1, 11))
    assert all(len(one.data) <= MAX_CHUNK_BYTES for one in chunks)
    assert [one.events for one in chunks] == [3, 3, 3, 1]


@pytest.mark.parametrize("ring", [RingBuffer(), RingBuffer(max_events=1)], ids=["ring", "log"])
def test_a_revocation_on_the_way_ends_the_stream_and_sends_nothing(ring: RingBuffer) -> None:
    log = FakeLog(event(1), control(2, "user_changed", user="alice"), event(3))
    telling, made = Telling(log, ring), subscriber()
    chunk = telling.replay.next(made)
    assert (chunk.data, chunk.upto, made.close_reason) == (b"", 0, "revoked")


@pytest.mark.parametrize("ring", [RingBuffer(), RingBuffer(max_events=1)], ids=["ring", "log"])
def test_the_revocation_of_somebody_else_and_an_old_one_end_nothing(ring: RingBuffer) -> None:
    log = FakeLog(control(1, "user_changed", user="alice"), control(2, "user_changed", user="bob"), event(3))
    telling, made = Telling(log, ring), subscriber(head=1)
    assert ids(telling.all_for(made)) == [3]
    assert made.close_reason is None


def test_the_log_away_raises_and_moves_nothing() -> None:
    telling, made = Telling(FakeLog(*events(1, 3)), head=3), subscriber()
    telling.log.down = OSError("away")
    with pytest.raises(LogUnavailable, match="away"):
        telling.replay.next(made)
    assert (made.cursor, made.close_reason, telling.replay.log_is_away) == (0, None, True)
    telling.log.down = None
    assert ids(telling.all_for(made)) == [1, 2, 3]


def test_a_log_that_ends_below_the_cursor_leads_nowhere_and_not_back() -> None:
    telling, made = Telling(FakeLog(*events(1, 3)), head=100), subscriber(after=50)
    chunk = Replay(telling.hub, lambda _cursor, _audiences: EventPage([], 3, full=False)).next(made)
    assert (chunk.after, chunk.upto, chunk.data) == (50, 50, b"")


def test_a_reader_that_moved_on_during_the_look_gets_a_chunk_from_where_the_look_began() -> None:
    """Whoever sends can then see that it does not fit any more."""
    telling, made = Telling(FakeLog(*events(1, 3)), head=3), subscriber()

    def read(cursor: int, audiences: Collection[str]) -> EventPage:
        made.cursor = 3
        return telling.log(cursor, audiences)

    chunk = Replay(telling.hub, read).next(made)
    assert (chunk.after, ids_in(chunk.data)) == (0, [1, 2, 3])


def test_looking_alone_moves_no_cursor() -> None:
    telling, made = Telling(FakeLog(*events(1, 3))), subscriber()
    add(telling.hub, made)
    assert telling.replay.next(made) == telling.replay.next(made)
    assert made.cursor == 0


class Moving(RingBuffer):
    """A ring to which something is added right before or behind the next look."""

    before: Callable[[], object] | None = None
    behind: Callable[[], object] | None = None

    def after(self, cursor: int, limit: int | None = None) -> Sequence[BufferedEvent]:
        before, self.before = self.before, None
        if before:
            before()
        found = super().after(cursor, limit)
        behind, self.behind = self.behind, None
        if behind:
            behind()
        return found


def test_an_event_that_comes_right_after_the_look_is_not_passed_over() -> None:
    log, ring = FakeLog(*events(1, 3)), Moving()
    telling = Telling(log, ring)
    ring.behind = lambda: telling.hub.deliver([event(4)], 4)
    assert ids(telling.all_for(subscriber())) == [1, 2, 3, 4]


def test_events_that_the_ring_drops_during_the_look_are_read_from_the_log() -> None:
    """On real threads the tail may go on between any two steps of a replay."""
    log, ring = FakeLog(*events(1, 3)), Moving(max_events=3)
    telling = Telling(log, ring)

    def more() -> None:
        log.events += events(4, 6)
        telling.hub.deliver(events(4, 6), 6)

    ring.before = more
    assert ids(telling.all_for(subscriber())) == [1, 2, 3, 4, 5, 6]


def test_a_cursor_that_was_pruned_meanwhile_ends_the_stream_instead_of_leaving_a_gap() -> None:
    """Its client comes back with the same cursor, and is answered with a reset."""
    log = FakeLog(*events(1, 9))
    log.down = CursorPruned()
    telling = Telling(log, RingBuffer(max_events=2))
    made = subscriber(after=3)
    assert telling.replay.next(made) == Chunk(b"", 3, 3, 0)
    assert (made.close_reason, telling.replay.log_is_away) == ("drain", False)

"""The newest events in memory, against a plain list."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.eventlog.reader import Event
from app.stream import formats
from app.stream.ring_buffer import EVENT_OVERHEAD_BYTES, BufferedEvent, RingBuffer
from tests.stream.readers import event, events


def sized(number: int, size: int) -> Event:
    return Event(number, "a", "everyone", {}, "2026-11-21T12:00:00.000Z", size)


def ids(ring: RingBuffer, cursor: int = 0, limit: int | None = None) -> list[int]:
    return [entry.event.id for entry in ring.after(cursor, limit)]


def filled(ring: RingBuffer, *new: Event) -> RingBuffer:
    for one in new:
        ring.add(one)
    return ring


def test_an_empty_ring_holds_nothing_above_its_floor() -> None:
    ring = RingBuffer()
    assert (len(ring), ring.floor, ids(ring)) == (0, 0, [])
    ring.clear(7)
    assert (len(ring), ring.floor, ids(ring, 7)) == (0, 7, [])


def test_the_oldest_go_when_there_are_too_many_and_the_floor_tells_so() -> None:
    ring = filled(RingBuffer(max_events=3), *events(1, 5))
    assert (len(ring), ring.floor, ids(ring, 2)) == (3, 2, [3, 4, 5])


def test_the_oldest_go_when_they_are_too_big() -> None:
    weight = BufferedEvent(sized(1, 100)).weight
    ring = filled(RingBuffer(max_bytes=3 * weight), *(sized(number, 100) for number in range(1, 6)))
    assert (len(ring), ring.floor) == (3, 2)


def test_one_event_stays_however_big_it_is() -> None:
    ring = filled(RingBuffer(max_bytes=10), event(1), sized(2, 1_000_000))
    assert (ids(ring, 1), ring.floor) == ([2], 1)


def test_an_event_weighs_more_than_its_payload() -> None:
    assert BufferedEvent(sized(1, 500)).weight >= EVENT_OVERHEAD_BYTES + 500


def test_ids_need_not_be_dense() -> None:
    ring = filled(RingBuffer(), event(3), event(7), event(8))
    assert [ids(ring, cursor) for cursor in (0, 3, 4, 6, 7, 8, 9)] == [[3, 7, 8], [7, 8], [7, 8], [7, 8], [8], [], []]


def test_no_more_than_the_limit_is_given_from_the_oldest_on() -> None:
    ring = filled(RingBuffer(), *events(1, 9))
    assert ids(ring, 2, 3) == [3, 4, 5]


def test_clearing_forgets_all_and_begins_at_the_new_floor() -> None:
    ring = filled(RingBuffer(max_bytes=5 * BufferedEvent(event(1)).weight), *events(5, 9))
    ring.clear(2)
    assert (len(ring), ring.floor) == (0, 2)
    filled(ring, *events(3, 7))
    assert (ids(ring, 2), ring.floor) == ([3, 4, 5, 6, 7], 2)


class TestPrefill:
    def test_older_events_come_before_what_is_there(self) -> None:
        ring = RingBuffer()
        ring.clear(5)
        filled(ring, *events(6, 8))
        ring.prefill(events(3, 5), 2, 5)
        assert (ids(ring, 2), ring.floor) == ([3, 4, 5, 6, 7, 8], 2)

    def test_what_is_there_already_is_not_taken_twice(self) -> None:
        ring = RingBuffer()
        ring.clear(5)
        filled(ring, *events(6, 8))
        ring.prefill(events(3, 8), 2, 8)
        assert ids(ring, 2) == [3, 4, 5, 6, 7, 8]

    def test_what_does_not_fit_is_the_oldest(self) -> None:
        ring = RingBuffer(max_events=4)
        ring.clear(5)
        filled(ring, *events(6, 8))
        ring.prefill(events(1, 5), 0, 5)
        assert (ids(ring, 4), ring.floor) == ([5, 6, 7, 8], 4)

    def test_what_ends_below_where_the_ring_has_moved_to_would_leave_a_gap_and_is_not_taken(self) -> None:
        ring = RingBuffer(max_events=4)
        ring.clear(5)
        filled(ring, *events(6, 12))
        ring.prefill(events(3, 5), 2, 5)
        assert (ids(ring, 2), ring.floor) == ([9, 10, 11, 12], 8)

    def test_frames_that_were_made_stay(self) -> None:
        ring = RingBuffer()
        ring.clear(1)
        filled(ring, event(2))
        frame = ring.after(1)[0].frame(formats.JSON_FORMAT)
        ring.prefill([event(1)], 0, 1)
        assert ring.after(1)[0].frame(formats.JSON_FORMAT) is frame


class TestEntry:
    def test_a_frame_is_made_once_a_shape(self) -> None:
        entry = BufferedEvent(event(1))
        assert not entry.has_frame(formats.JSON_FORMAT)
        assert entry.frame(formats.JSON_FORMAT) is entry.frame(formats.JSON_FORMAT)
        assert (entry.has_frame(formats.JSON_FORMAT), entry.has_frame(formats.SSE_FORMAT)) == (True, False)

    def test_that_a_shape_does_not_carry_it_is_remembered_too(self) -> None:
        calls: list[int] = []

        def encode(found: Event) -> None:
            calls.append(found.id)

        entry, shape = BufferedEvent(event(1)), formats.EventFormat("none", encode)
        assert (entry.frame(shape), entry.frame(shape)) == (None, None)
        assert calls == [1]


STEP = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 3), st.integers(0, 3_000)),
    st.tuples(st.just("clear"), st.integers(0, 200), st.just(0)),
)


@given(st.lists(STEP, max_size=60), st.integers(1, 10), st.integers(1, 40_000), st.integers(0, 200))
def test_it_is_the_end_of_a_list(steps: list[tuple[str, int, int]], most: int, bytes_: int, cursor: int) -> None:
    ring, model, floor, last = RingBuffer(most, bytes_), list[Event](), 0, 0
    for what, number, size in steps:
        if what == "clear":
            model, floor, last = [], number, number
            ring.clear(number)
            continue
        last += number
        model.append(sized(last, size))
        ring.add(model[-1])
        while len(model) > most or (len(model) > 1 and sum(BufferedEvent(one).weight for one in model) > bytes_):
            floor = model.pop(0).id
        assert (len(ring), ring.floor) == (len(model), floor)
        assert [entry.event for entry in ring.after(cursor)] == [one for one in model if one.id > cursor]


@pytest.mark.parametrize("most", [1, 7, 500, 2_500])
def test_it_stays_exact_over_thousands_of_events(most: int) -> None:
    ring = RingBuffer(max_events=most)
    for number in range(1, 6_001):
        ring.add(event(2 * number))
        if number % 97 == 0:
            oldest = 2 * max(1, number - most + 1)
            assert ids(ring) == list(range(oldest, 2 * number + 1, 2))
            assert ids(ring, oldest + 1, 2) == ids(ring, oldest)[:2]


def test_what_was_dropped_is_not_kept_in_memory() -> None:
    """A thousand events of 64 KiB would be 200 MB beyond the bound."""
    ring = filled(RingBuffer(max_events=10), *events(1, 900))
    assert len(ring._entries) <= 2 * 10


def test_reading_on_one_thread_while_another_adds_finds_no_gap_and_no_disorder() -> None:
    ring, total = RingBuffer(max_events=50), 60_000
    writer = threading.Thread(target=lambda: filled(ring, *map(bare, range(1, total + 1))))
    writer.start()
    while writer.is_alive():
        cursor = ring.floor
        found = ids(ring, cursor, 40)
        if ring.floor <= cursor:
            assert found == list(range(cursor + 1, cursor + 1 + len(found)))
        assert found == sorted(found)
    writer.join()
    assert ids(ring, total - 10) == list(range(total - 9, total + 1))


def bare(number: int) -> Event:
    return sized(number, 0)

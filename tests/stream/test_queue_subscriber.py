"""The bounded queue of one reader on the generator transport."""

import threading
import time
from collections.abc import Callable

import pytest

from app.stream.queue_subscriber import MAX_QUEUED_BYTES, QueuedSubscriber
from tests.stream.readers import chunk, live, reader, subscriber
from tests.support.machine import scaled
from tests.support.waiting import wait_for


def pushed(reader: QueuedSubscriber, number: int, data: bytes) -> bool:
    """Push what carries the reader from the id before `number` to it."""
    return reader.push(chunk(number - 1, number, data))


def test_chunks_come_out_joined_and_in_order() -> None:
    reader = live(subscriber())
    assert all(pushed(reader, number, b"%d;" % number) for number in (1, 2, 3))
    assert reader.take(0) == b"1;2;3;"
    assert reader.take(0) == b""
    assert reader.cursor == 3


@pytest.mark.parametrize("after", [4, 6])
def test_a_chunk_that_does_not_begin_at_its_cursor_is_refused(after: int) -> None:
    reader = live(subscriber(after=5))
    assert not reader.push(chunk(after, 7, b"x"))
    assert (reader.take(0), reader.cursor) == (b"", 5)


def test_an_empty_chunk_moves_the_cursor_and_queues_nothing() -> None:
    reader = live(subscriber(after=5))
    assert reader.push(chunk(5, 9, b"", 0))
    assert (reader.take(0), reader.cursor, reader.live) == (b"", 9, True)


def test_nothing_is_queued_while_behind() -> None:
    reader = subscriber()
    assert not pushed(reader, 1, b"1")
    assert (reader.take(0), reader.cursor) == (b"", 0)


def test_nothing_is_queued_after_the_goodbye() -> None:
    reader = live(subscriber())
    pushed(reader, 1, b"1;")
    reader.close("revoked")
    assert not pushed(reader, 2, b"2;")
    assert reader.take(0) == b"1;"


def test_a_full_queue_makes_it_behind_and_keeps_what_it_has() -> None:
    reader = live(subscriber())
    half = b"x" * (MAX_QUEUED_BYTES // 2)
    assert [pushed(reader, number, half) for number in (1, 2, 3, 4)] == [True, True, False, False]
    assert not reader.live
    assert reader.take(0) == half + half
    assert reader.cursor == 2


def test_one_frame_larger_than_the_queue_still_goes_out() -> None:
    reader = live(subscriber())
    pushed(reader, 1, b"x" * (MAX_QUEUED_BYTES + 1))
    assert len(reader.take(0)) == MAX_QUEUED_BYTES + 1
    assert reader.live


def test_the_queue_has_room_again_after_it_was_taken() -> None:
    reader = live(subscriber())
    for number in range(1, 10):
        assert pushed(reader, number, b"x" * (MAX_QUEUED_BYTES - 10))
        assert reader.take(0)
    assert reader.live


def test_the_first_reason_to_close_stays() -> None:
    reader = subscriber()
    reader.close("revoked")
    reader.close("drain")
    assert reader.close_reason == "revoked"


def test_what_is_queued_is_still_read_after_it_fell_behind() -> None:
    reader = live(subscriber())
    pushed(reader, 1, b"1;")
    reader.mark_lagging()
    assert (reader.live, reader.take(0)) == (False, b"1;")


WAKERS: dict[str, Callable[[QueuedSubscriber], object]] = {
    "push": lambda reader: pushed(reader, 1, b"1"),
    "close": lambda reader: reader.close("drain"),
    "fall behind": lambda reader: reader.mark_lagging(),
    "overflow": lambda reader: (
        pushed(reader, 1, b"1" * MAX_QUEUED_BYTES),
        pushed(reader, 2, b"2"),
    ),
}


@pytest.mark.parametrize("waker", WAKERS)
def test_waiting_ends_at_once_when_something_happens(waker: str) -> None:
    reader = live(subscriber())
    threading.Timer(0.05, WAKERS[waker], [reader]).start()
    began = time.monotonic()
    reader.take(30)
    assert time.monotonic() - began < scaled(10)


def test_waiting_behind_ends_when_the_stream_is_to_close() -> None:
    reader = subscriber()
    threading.Timer(0.05, lambda: reader.close("drain")).start()
    began = time.monotonic()
    reader.pause_before_retry(30)
    assert time.monotonic() - began < scaled(10)


def test_a_revocation_cuts_off_whoever_waits_for_its_peer() -> None:
    cuts: list[str] = []
    deaf = QueuedSubscriber(reader(), 0, cut=lambda: cuts.append("cut"))
    deaf.close("drain")
    assert cuts == [], "who does not read has until the send times out"
    deaf.close("revoked")
    assert cuts == ["cut"]


def test_a_revocation_is_told_to_whoever_listens() -> None:
    cuts: list[str] = []
    listening = QueuedSubscriber(reader(), 0, cut=lambda: cuts.append("cut"))
    listening.live = True
    waiting = threading.Thread(target=listening.take, args=(10,))
    waiting.start()
    wait_for(lambda: listening._is_waiting)
    listening.close("revoked")
    waiting.join(scaled(5))
    assert (cuts, listening.close_reason) == ([], "revoked")

"""The bounded queue of one stream."""

import threading
import time

import pytest

from app.stream.subscriber import MAX_QUEUED_BYTES
from tests.stream.readers import live, subscriber


def test_frames_come_out_joined_and_in_order() -> None:
    reader = live(subscriber())
    for number in (1, 2, 3):
        reader.offer(number, b"%d;" % number)
    assert reader.take(0) == b"1;2;3;"
    assert reader.take(0) == b""
    assert reader.cursor == 3


def test_what_was_replayed_already_is_dropped() -> None:
    reader = live(subscriber(after=5))
    reader.offer(4, b"4")
    reader.offer(5, b"5")
    reader.offer(6, b"6")
    assert reader.take(0) == b"6"


def test_nothing_is_queued_while_behind() -> None:
    reader = subscriber()
    reader.offer(1, b"1")
    assert reader.take(0) == b""
    assert reader.cursor == 0


def test_nothing_is_queued_after_the_goodbye() -> None:
    reader = live(subscriber())
    reader.offer(1, b"1;")
    reader.close("revoked")
    reader.offer(2, b"2;")
    assert reader.take(0) == b"1;"


def test_a_full_queue_makes_it_behind_and_keeps_what_it_has() -> None:
    reader = live(subscriber())
    half = b"x" * (MAX_QUEUED_BYTES // 2)
    for number in (1, 2, 3, 4):
        reader.offer(number, half)
    assert not reader.live
    assert reader.take(0) == half + half
    assert reader.cursor == 2


def test_one_frame_larger_than_the_queue_still_goes_out() -> None:
    reader = live(subscriber())
    reader.offer(1, b"x" * (MAX_QUEUED_BYTES + 1))
    assert len(reader.take(0)) == MAX_QUEUED_BYTES + 1
    assert reader.live


def test_the_queue_has_room_again_after_it_was_taken() -> None:
    reader = live(subscriber())
    for number in range(1, 10):
        reader.offer(number, b"x" * (MAX_QUEUED_BYTES - 10))
        assert reader.take(0)
    assert reader.live


def test_the_first_reason_to_close_stays() -> None:
    reader = subscriber()
    reader.close("revoked")
    reader.close("drain")
    assert reader.goodbye == "revoked"


@pytest.mark.parametrize("wake", ["offer", "close"])
def test_waiting_ends_at_once_when_something_happens(wake: str) -> None:
    reader = live(subscriber())
    act = {"offer": lambda: reader.offer(1, b"1"), "close": lambda: reader.close("drain")}[wake]
    threading.Timer(0.05, act).start()
    began = time.monotonic()
    assert reader.take(30) == (b"1" if wake == "offer" else b"")
    assert time.monotonic() - began < 10


def test_waiting_behind_ends_when_the_stream_is_to_close() -> None:
    reader = subscriber()
    threading.Timer(0.05, lambda: reader.close("drain")).start()
    began = time.monotonic()
    reader.wait_behind(30)
    assert time.monotonic() - began < 10

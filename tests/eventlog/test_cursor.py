"""Where reading begins, from what the client says, the head and the floor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.eventlog.cursor import StartPosition, resolve_start


@pytest.mark.parametrize("text", [None, ""])
def test_no_cursor_begins_at_the_head_and_is_no_reset(text: str | None) -> None:
    assert resolve_start(text, head=9, floor=3) == StartPosition(9, 9)


@pytest.mark.parametrize("text", ["3", "4", "9", "0003"])
def test_a_cursor_between_floor_and_head_is_taken(text: str) -> None:
    assert resolve_start(text, head=9, floor=3) == StartPosition(int(text), 9)


def test_a_log_that_was_never_pruned_can_be_read_from_zero() -> None:
    assert resolve_start("0", head=9, floor=0) == StartPosition(0, 9)


@pytest.mark.parametrize("text", ["0", "2"])
def test_a_cursor_below_the_floor_has_missed_something(text: str) -> None:
    assert resolve_start(text, head=9, floor=3) == StartPosition(9, 9, "pruned")


def test_a_cursor_above_the_head_is_from_the_future() -> None:
    assert resolve_start("10", head=9, floor=3) == StartPosition(9, 9, "future")


@pytest.mark.parametrize(
    "text",
    [
        "-1",
        "+1",
        "1.0",
        "1e3",
        "0x1",
        " 1",
        "1 ",
        "1\n",
        "abc",
        "\0",
        "\u0661",
        "²",
        "1_000",
        "1" * 19,
        "9" * 5_000,
        "null",
    ],
)
def test_anything_else_is_malformed(text: str) -> None:
    assert resolve_start(text, head=9, floor=0) == StartPosition(9, 9, "malformed")


@given(text=st.text(), head=st.integers(0, 2**53), floor=st.integers(0, 2**53))
def test_no_text_fails_and_none_begins_outside_the_log(text: str, head: int, floor: int) -> None:
    floor = min(floor, head)
    found = resolve_start(text, head, floor)
    assert floor <= found.after <= head == found.head
    assert found.reset is None or found.after == head

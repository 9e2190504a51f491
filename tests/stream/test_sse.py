"""Frames on the wire: whatever the data holds, a standard client reads one frame with exactly that data."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stream import sse
from tests.support.sse_client import Frame, Parser, ProtocolError, parse

# What a payload might try: line ends of the standard and look-alikes, fields, a whole frame, a byte order mark.
HOSTILE = [
    "a\nb",
    "a\rb",
    "a\r\nb",
    "a\n\nid: 7\nevent: bye\ndata: {}\n\n",
    "a\r\rid: 7\r\revent: bye\r\r",
    "\n",
    "\n\n",
    "\r",
    "",
    "a\0b",
    "id: 1",
    ": comment",
    "data: x",
    "\u2028id: 7\u2029",
    "\x85id: 7\x0b\x0c\x1c\x1d\x1e",
    "\ufeffid: 7",
    " leading and trailing ",
    "\nretry: 1\n",
    "😀 \U0010ffff",
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def normalised(text: str) -> str:
    """A client joins lines with LF, whatever ended them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_can_forge_a_field_or_a_frame(text: str) -> None:
    frames = parse(sse.frame(text, event="job.failed", id=41) + sse.frame("next", id=42))
    assert frames == [Frame("job.failed", normalised(text), "41"), Frame("message", "next", "42")]


@given(text=TEXT, other=TEXT, cuts=st.lists(st.integers(1, 9)))
def test_any_text_arrives_as_one_frame_however_the_bytes_are_split(text: str, other: str, cuts: list[int]) -> None:
    wire = sse.frame(text, id=1) + sse.frame(other, event="e", id=2, retry_ms=5)
    parser, frames, place = Parser(), [], 0
    for cut in cuts:
        frames += parser.feed(wire[place : place + cut])
        place += cut
    frames += parser.feed(wire[place:])
    assert frames == [Frame("message", normalised(text), "1"), Frame("e", normalised(other), "2", 5)]
    assert parser.is_between_frames
    assert parser.last_event_id == "2"


@given(data=st.dictionaries(TEXT, TEXT | st.integers() | st.none() | st.booleans()))
def test_any_json_arrives_equal_and_on_one_line(data: dict[str, Any]) -> None:
    wire = sse.json_frame(data, id=3)
    assert wire.count(b"\n") == 3
    assert b"\r" not in wire
    assert parse(wire)[0].json() == data


def test_a_frame_as_the_contract_writes_it() -> None:
    assert sse.json_frame({"a": "ü", "b": [1, 2]}, event="hello", retry_ms=2417) == (
        'retry: 2417\nevent: hello\ndata: {"a":"ü","b":[1,2]}\n\n'.encode()
    )
    assert sse.frame("x", event="job.done", id=1041) == b"id: 1041\nevent: job.done\ndata: x\n\n"
    assert sse.frame("x") == b"data: x\n\n"


class TestParser:
    """The tests' own client, held against the examples and rules of the standard."""

    def test_the_standards_example_of_blank_data(self) -> None:
        assert parse(b"data\n\ndata\ndata\n\ndata:\n\n") == [
            Frame("message", ""),
            Frame("message", "\n"),
            Frame("message", ""),
        ]

    def test_one_space_after_the_colon_goes_and_no_more(self) -> None:
        assert parse(b"data:test\n\ndata: test\n\ndata:  test\n\n") == [
            Frame("message", "test"),
            Frame("message", "test"),
            Frame("message", " test"),
        ]

    def test_comments_and_the_three_line_ends(self) -> None:
        assert parse(b": hi\r\ndata: a\rdata: b\n\r\n") == [Frame("message", "a\nb")]

    def test_a_frame_without_data_is_not_dispatched_but_its_id_counts(self) -> None:
        parser = Parser()
        assert parser.feed(b"id: 5\nevent: x\n\ndata: a\n\n") == [Frame("message", "a")]
        assert parser.last_event_id == "5"

    def test_a_byte_order_mark_is_dropped_once_even_in_pieces(self) -> None:
        parser = Parser()
        assert [frame for byte in b"\xef\xbb\xbfdata: a\n\n" for frame in parser.feed(bytes([byte]))] == [
            Frame("message", "a")
        ]

    def test_a_carriage_return_at_the_end_of_a_chunk_waits_for_its_line_feed(self) -> None:
        parser = Parser()
        assert parser.feed(b"data: a\r") == []
        assert parser.feed(b"\n\r") == []
        assert parser.feed(b"\n") == [Frame("message", "a")]

    def test_half_a_frame_is_noticed(self) -> None:
        with pytest.raises(AssertionError, match="inside a frame"):
            parse(b"data: a\n")
        with pytest.raises(AssertionError, match="inside a frame"):
            parse(b"data: a\n\nda")

    @pytest.mark.parametrize("line", ["surprise: 1", "retry: soon", "retry: ", "id: a\0b", "Data: x", " data: x"])
    def test_what_a_browser_would_silently_ignore_is_an_error(self, line: str) -> None:
        with pytest.raises(ProtocolError):
            parse(f"{line}\n\n".encode())

    def test_bytes_that_are_no_utf8_are_an_error(self) -> None:
        with pytest.raises(UnicodeDecodeError):
            parse(b"data: \xff\n\n")

    def test_nan_is_no_json(self) -> None:
        with pytest.raises(ProtocolError):
            Frame("message", json.dumps({"n": float("nan")})).json()

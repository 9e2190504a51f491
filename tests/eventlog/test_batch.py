"""A body event by event: the same values and the same refusals as `strict_json.loads`, whatever its size and shape."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.eventlog import batch
from app.infra import strict_json

GOOD = [
    b"[]", b" [ ] ", b"[1]", b"\t[1 ,\r\n2,3 ]\n", b"{}", b'{"a": [1, 2]}', b"7", b'"x"', b"null", b"-Infinity",
    b"[NaN]",
    b'[{"a": 1}, {"a": 2}]', b'["]", "[", ",", "\\"]"]', b"\xef\xbb\xbf[1]", b'["\\ud800"]', b'["\xed\xa0\x80"]',
    '[1,"\u00fc"]'.encode("utf-16"), '[{"\U0001f600": "\u2028"}]'.encode("utf-32"), b"[[[[]]],[]]",
]  # fmt: skip
BAD = [
    b'[{"a": 1, "a": 2}]', b'{"a": {"b": 1, "c": 1, "b": 2}}', b'[{"": 1, "": 1}', b'[{"\\u0061": 1, "a": 2}, x]',
    b"", b" ", b"[", b"[1", b"[1,", b"[1,]", b"[,1]", b"[1 2]", b"[1]]", b"[1] x", b"{} {}", b"{", b'{"a"}', b"[nul]",
    b'["x]', b'["\n"]', b'["\\x"]', b'["\\u12"]', b"nonsense", b"\xff\xfe", b"\xff", b"[1\xff]", b"\0", b"[01]",
    b"[1.]", b"[\xc2\xa01]", b"[+1]", b"['a']", b"[1,\n\n x]", "\ufeff[1]".encode("utf-8-sig"), b"[" + b"9" * 5_000,
]  # fmt: skip


def outcome(read: Callable[[bytes], Any], body: bytes) -> tuple[str, Any]:
    """The values, or the words of the refusal; as text, because NaN equals nothing."""
    try:
        return "values", repr(read(body))
    except ValueError as error:
        # Python 3.13 names a comma before the end; those before it say what they expected after it.
        words = "a comma too many" if re.search(r"trailing comma|Expecting value", str(error)) else str(error)
        return type(error).__name__, words


def at_once(body: bytes) -> list[Any]:
    found = strict_json.loads(body)
    return found if isinstance(found, list) else [found]


def one_by_one(body: bytes) -> list[Any]:
    return list(batch.iter_values(body))


@pytest.mark.parametrize("body", GOOD + BAD)
def test_every_body_means_what_json_says_it_means(body: bytes) -> None:
    assert outcome(one_by_one, body) == outcome(at_once, body)


@given(text=st.text(alphabet='[]{},:"\\ \n1e-.nulltrefas\ufeff\u00fc', max_size=25))
@hypothesis_settings(max_examples=400, deadline=None)
def test_no_text_is_read_differently(text: str) -> None:
    assert outcome(one_by_one, text.encode()) == outcome(at_once, text.encode())


@given(data=st.data())
@hypothesis_settings(max_examples=200, deadline=None)
def test_where_the_parser_sees_only_a_part_changes_nothing(data: st.DataObject) -> None:
    item = st.integers(-99, 10**12) | st.floats() | st.booleans() | st.none() | st.text(max_size=2) | st.just([{}, "]"])
    items = data.draw(st.lists(item, max_size=30))
    body = json.dumps(items, indent=data.draw(st.sampled_from([None, 1]))).encode()
    broken = body[: data.draw(st.integers(0, len(body)))] + data.draw(st.sampled_from([b"", b"x", b"]", b",", b'"']))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "MAX_EVENT_CHARS", 40)
        assert outcome(one_by_one, body) == outcome(at_once, body)
        read, expected = outcome_within(broken), outcome(at_once, broken)
    # Near the edge of the part a broken value may be told to be too large: it is refused all the same.
    assert read == expected or (read[0] == "EventTooLarge" and expected[0] == "JSONDecodeError")


def outcome_within(body: bytes) -> tuple[str, Any]:
    try:
        return outcome(one_by_one, body)
    except batch.EventTooLarge as error:
        return "EventTooLarge", error.place


def test_the_first_events_are_there_before_the_last_are_read() -> None:
    values = batch.iter_values(b"[1, 2, nonsense")
    assert [next(values), next(values)] == [1, 2]
    with pytest.raises(json.JSONDecodeError, match=r"line 1 column 8 \(char 7\)"):
        next(values)


@pytest.mark.parametrize(
    "value",
    [
        b"[" + b"1," * 300_000 + b"1]",
        b'"' + b"x" * 600_000 + b'"',
        b'{"a": "' + b"x" * 5_000_000,
        b"[" + b"1," * 1_000_000,
    ],
    ids=["a list", "a text", "a text without an end", "a list without an end"],
)
@pytest.mark.parametrize("place", [0, 2])
def test_a_huge_event_is_given_up_before_it_is_read(value: bytes, place: int) -> None:
    body = b"[" + b"{}," * place + value + b", {}" * 300_000 + b"]"
    values = batch.iter_values(body)
    for _ in range(place):
        assert next(values) == {}
    with pytest.raises(batch.EventTooLarge) as refused:
        next(values)
    assert refused.value.place == place


def test_the_largest_payload_fits_with_every_byte_escaped() -> None:
    event = '{"type": "a", "data": {"pad": "' + "\\u0041" * (64 * 1024 - 10) + '"}}'
    assert [item["data"]["pad"][:2] for item in batch.iter_values(f"[{event},{event}]".encode())] == ["AA", "AA"]


def test_a_mistake_far_into_a_large_body_is_named_by_its_place() -> None:
    body = b"[" + (b'"' + b"y" * 300_000 + b'",\n') * 9 + b"oops]"
    assert outcome(one_by_one, body) == outcome(at_once, body)

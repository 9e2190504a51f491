"""Foreign JSON is measured before anything is built from it: values and depth, whatever its texts hold."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from app.infra import json_limits
from app.infra.json_limits import JsonTooLarge, loads, may_exceed, measure_json
from tests.support.hostile_json import CountedBytes, as_bytes, deep, many_items, many_keys


@pytest.mark.parametrize(
    ("text", "values", "depth"),
    [
        (b"1", 0, 0),
        (b"[]", 1, 1),
        (b"[1,2,3]", 3, 1),
        (b'{"a":1,"b":[1,2]}', 4, 2),
        (b'{"a,{[":"]}\\",{["}', 1, 1),
        (b'["\\\\","\\\\\\",[{","x"]', 3, 1),
        (b'[[["a\\"]]]"]]]', 3, 3),
    ],
)
def test_what_stands_in_texts_is_not_counted(text: bytes, values: int, depth: int) -> None:
    size = measure_json(text)
    assert (size.values, size.depth) == (values, depth)


@pytest.mark.parametrize("shift", range(6))
def test_a_text_may_be_cut_anywhere_between_two_pieces(shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_limits, "_PIECE_BYTES", 7)
    value = ["x" * shift, 'a\\",[{', "\\\\\\", {"k,": ['"', '\\"', "}]"]}, "é,\n"]
    size = measure_json(json.dumps(value).encode())
    assert (size.values, size.depth) == (9, 3)


def test_it_counts_as_a_parser_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_limits, "_PIECE_BYTES", 11)
    for _ in range(300):
        value = _random_value(random, 0)
        size = measure_json(json.dumps(value).encode())
        assert (size.values, size.depth) == (_members(value), _depth(value))


@pytest.mark.parametrize("make", [many_keys, many_items, lambda: {"a": many_items()}, lambda: many_items({})])
def test_too_many_values_are_refused_after_a_few_pieces(make: Callable[[], Any]) -> None:
    body = CountedBytes(as_bytes(make()))
    with pytest.raises(JsonTooLarge, match=r"^more than 50,000 values$"):
        loads(body)
    assert body.taken < len(body) / 2, "the rest of it was looked at all the same"


def test_too_deep_a_value_is_refused_after_one_piece() -> None:
    body = CountedBytes(deep())
    with pytest.raises(ValueError, match="nested too deep"):
        loads(body)
    assert body.taken <= 64 * 1024


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": 1', b"\xff\xfe\x00", b'{"a": 1} {"b": 2}', b"[" * 100_000])
def test_what_is_no_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- each parser has words of its own
        loads(body)


def test_the_quick_look_is_never_too_low() -> None:
    for _ in range(200):
        value = _random_value(random, 0)
        body, members = json.dumps(value).encode(), _members(value)
        assert may_exceed(body, members - 1) or members == 0 or len(body) <= 2 * (members - 1)
    dense = as_bytes([1] * 101)
    assert may_exceed(dense, 100)
    assert not may_exceed(dense, 102)
    assert not may_exceed(as_bytes(list(range(1_000))), 1_000)


def test_the_parser_gives_the_interpreter_back_after_each_object(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[int] = []
    keep = json_limits._keep
    monkeypatch.setattr(json_limits, "_keep", lambda found: given_back.append(1) or keep(found))
    value = [{"id": f"j{n}", "n": n} for n in range(10_000)]
    assert loads(as_bytes(value), max_values=200_000) == value
    assert len(given_back) == 10_000


def _random_value(numbers: Any, depth: int) -> Any:
    kind = numbers.randrange(6 if depth < 6 else 3)
    if kind < 3:
        return [1, None, "".join(numbers.choices('ab\\",[]{}: \n', k=numbers.randrange(12)))][kind]
    members = [_random_value(numbers, depth + 1) for _ in range(numbers.randrange(5))]
    return members if kind < 5 else {f'k"{n}\\': member for n, member in enumerate(members)}


def _members(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner = list(value.values()) if isinstance(value, dict) else value
    return max(1, len(inner)) + sum(map(_members, inner))


def _depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)

"""Limits foreign JSON by its number of values and its depth, measured on the bytes before anything is parsed.

A limit in bytes does not limit the work: 7 MB can hold half a million keys, and a validator that rejects each of them
blocks the event loop for seconds and keeps a gigabyte for good. What is not small is parsed on a native thread. The
parser runs in C and holds the interpreter's lock there too, so it only gets what it can finish in a few milliseconds.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeVar

from app.infra.concurrency import TimeSlice, run_in_thread

T = TypeVar("T")
Text = TypeVar("Text", bound=bytes | str)

MAX_DEPTH = 64
# The C parser builds this many values in about 5 ms at worst.
MAX_VALUES = 50_000
# What is longer is parsed on a thread; below that, changing the thread would take longer than parsing.
MAX_BYTES_ON_LOOP = 64 * 1024
_PIECE_BYTES = 32 * 1024
_COUNTED_BYTES = 256 * 1024
# Minimum length of a value with its separator.
_MIN_BYTES_PER_VALUE = 2
_BRACKETS = b"[]{}"
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class JsonTooLarge(ValueError):
    """The text has more values than allowed. The message completes a sentence such as "a response with …"."""


@dataclass(frozen=True, slots=True)
class JsonSize:
    """`values`: number of members of all objects and lists; an empty one counts as one."""

    values: int
    depth: int


def may_exceed(body: bytes, max_values: int) -> bool:
    """Quick check that also counts marks inside strings: if it returns False, the limit is certainly kept."""
    if len(body) <= _MIN_BYTES_PER_VALUE * max_values:
        return False
    pace, found = TimeSlice(), 0
    for start in range(0, len(body), _COUNTED_BYTES):
        found += sum(body.count(mark, start, start + _COUNTED_BYTES) for mark in (b",", b"{", b"["))
        if found > max_values:
            return True
        pace()
    return False


def measure_json(body: bytes, max_values: int = MAX_VALUES, max_depth: int = MAX_DEPTH) -> JsonSize:
    """Measure a text that should be JSON. Raises `JsonTooLarge` as soon as it has more values, `ValueError` as soon as
    it is nested deeper."""
    size, pace = JsonSize(0, 0), TimeSlice()
    for size in _measure_pieces(body):
        if size.values > max_values:
            raise JsonTooLarge(f"more than {max_values:,} values")
        if size.depth > max_depth:
            raise ValueError("nested too deep")
        pace()
    return size


def loads(body: bytes, max_values: int = MAX_VALUES, max_depth: int = MAX_DEPTH) -> Any:
    """Parse `body`, which is UTF-8. Raises `ValueError` or its subclass `JsonTooLarge`."""
    measure_json(body, max_values, max_depth)
    text = body.decode("utf-8-sig")
    try:
        return parse_off_loop(_parse_interruptibly, text)
    except RecursionError as error:  # invalid JSON may be nested deeper than was measured
        raise ValueError("nested too deep") from error


def _parse_interruptibly(text: str) -> Any:
    """The call for each object lets other threads have the interpreter's lock in between."""
    return json.loads(text, object_hook=_keep)


def _keep(found: dict[str, Any]) -> dict[str, Any]:
    return found


def parse_off_loop(parse: Callable[[Text], T], text: Text) -> T:
    """Return `parse(text)`. A long text is parsed on a native thread if this one runs an event loop.

    The caller limits the number of values first.
    """
    if len(text) <= MAX_BYTES_ON_LOOP:
        return parse(text)
    found: T = run_in_thread(parse, text)
    return found


def _measure_pieces(body: bytes) -> Iterator[JsonSize]:
    """Yield the size so far after each piece. A piece is short enough that handling it delays nothing noticeably."""
    in_text, level, values, deepest, carried = False, 0, 0, 0, b""
    for start in range(0, len(body), _PIECE_BYTES):
        piece, carried = _strip_escapes(carried + body[start : start + _PIECE_BYTES])
        parts = piece.split(b'"')
        marks = b"".join(parts[1::2] if in_text else parts[::2])
        in_text ^= len(parts) % 2 == 0
        values += marks.count(b",") + marks.count(b"[") + marks.count(b"{")
        levels = list(accumulate(map(_STEP.__getitem__, marks.translate(None, _ALL_BUT_BRACKETS)), initial=level))
        level, deepest = levels[-1], max([deepest, *levels])
        yield JsonSize(values, deepest)


def _strip_escapes(piece: bytes) -> tuple[bytes, bytes]:
    """Remove escaped quotes and backslashes; returns the piece, and a final backslash that escapes the next byte."""
    if b"\\" not in piece:
        return piece, b""
    is_cut = (len(piece) - len(piece.rstrip(b"\\"))) % 2 == 1
    whole, rest = (piece[:-1], piece[-1:]) if is_cut else (piece, b"")
    return whole.replace(b"\\\\", b"").replace(b'\\"', b""), rest

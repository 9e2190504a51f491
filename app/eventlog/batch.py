"""Parses a publisher's body one event at a time, because parsing 8 MiB at once would block the event loop."""

import json
import re
from collections.abc import Generator, Iterator
from typing import Any

from app.eventlog.event_types import MAX_PAYLOAD_BYTES
from app.infra.strict_json import reject_duplicate_keys

# Limit of one event, which is parsed in one call: the largest payload with every byte escaped, plus its envelope.
MAX_EVENT_CHARS = 6 * MAX_PAYLOAD_BYTES + 4_096
# Size of the text window given to the parser. It moves in large steps, because each step copies the window.
_WINDOW_CHARS = 2 * MAX_EVENT_CHARS
# Longest text that the parser examines before it reports a truncated value: `-Infinity` or an escaped surrogate pair.
_PARSER_LOOKAHEAD_CHARS = 16
_BLANKS = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(object_pairs_hook=reject_duplicate_keys)


class EventTooLarge(Exception):
    """The event at `place` is longer than `MAX_EVENT_CHARS` characters of JSON."""

    def __init__(self, place: int) -> None:
        super().__init__(f"event {place} is too large to be parsed")
        self.place = place


def iter_values(body: bytes) -> Iterator[Any]:
    """Yield the items of a JSON array, or the single value if the body is no array.

    It accepts the same JSON as `strict_json.loads(body)`. At the place of an error it raises the same `ValueError`,
    `RecursionError` for a value nested too deep, or `EventTooLarge`; the values before it have then been yielded.
    """
    text = body.decode(json.detect_encoding(body), "surrogatepass")
    start = _skip_blanks(text, 0)
    end = yield from _iter_members(text, start + 1) if text.startswith("[", start) else _iter_single(text, start)
    end = _skip_blanks(text, end)
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)


def _iter_single(text: str, at: int) -> Generator[Any, None, int]:
    value, end = _ParserWindow(text).value(at, 0)
    yield value
    return end


def _iter_members(text: str, at: int) -> Generator[Any, None, int]:
    """Yield the items from after the opening bracket; returns the position after the closing one."""
    window, place = _ParserWindow(text), 0
    at = _skip_blanks(text, at)
    if text.startswith("]", at):
        return at + 1
    while True:
        value, at = window.value(at, place)
        yield value
        at, place = _skip_blanks(text, at), place + 1
        if text.startswith("]", at):
            return at + 1
        if not text.startswith(",", at):
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _skip_blanks(text, at + 1)


class _ParserWindow:
    """The part of `text` that the parser sees, so that a value without an end is rejected early."""

    def __init__(self, text: str) -> None:
        self._text, self._base, self._seen = text, 0, text[:_WINDOW_CHARS]

    def value(self, at: int, place: int) -> tuple[Any, int]:
        """Parse the value that begins at `at`; returns it and its end."""
        self._move_to(at)
        try:
            value, end = _DECODER.raw_decode(self._seen, at - self._base)
        except json.JSONDecodeError as error:
            if self._is_cut_off(error):
                raise EventTooLarge(place) from None
            raise json.JSONDecodeError(error.msg, self._text, self._base + error.pos) from None
        end += self._base
        if end - at > MAX_EVENT_CHARS:
            raise EventTooLarge(place)
        return value, end

    def _move_to(self, at: int) -> None:
        if at + MAX_EVENT_CHARS >= self._base + len(self._seen) and not self._is_at_end():
            self._base, self._seen = at, self._text[at : at + _WINDOW_CHARS]

    def _is_at_end(self) -> bool:
        return self._base + len(self._seen) >= len(self._text)

    def _is_cut_off(self, error: json.JSONDecodeError) -> bool:
        """True if the parser failed at the window's edge, and not because of invalid JSON."""
        if self._is_at_end():
            return False
        at_edge = error.pos >= len(self._seen) - _PARSER_LOOKAHEAD_CHARS
        return at_edge or error.msg.startswith("Unterminated string")


def _skip_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at

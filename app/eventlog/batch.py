"""Parses a publisher's body one event at a time, because parsing 8 MiB at once would block the event loop.

A native thread would not help: the parser runs in C and holds the interpreter's lock until a whole event is built.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from app.eventlog.event_types import MAX_PAYLOAD_BYTES
from app.infra.strict_json import reject_duplicate_keys

# Limit of one event, which is parsed in one call: the largest payload with every byte escaped, plus its envelope.
MAX_EVENT_CHARS = 6 * MAX_PAYLOAD_BYTES + 4_096
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
    at = _skip_blanks(text, 0)
    is_array = text.startswith("[", at)
    if is_array:
        at = _skip_blanks(text, at + 1)
    place, is_done = 0, is_array and text.startswith("]", at)
    while not is_done:
        value, at = _parse_value(text, at, place)
        yield value
        at, place = _skip_blanks(text, at), place + 1
        is_done = not is_array or text.startswith("]", at)
        if not is_done:
            if not text.startswith(",", at):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
            at = _skip_blanks(text, at + 1)
    at = _skip_blanks(text, at + 1) if is_array else at
    if at != len(text):
        raise json.JSONDecodeError("Extra data", text, at)


def _parse_value(text: str, at: int, place: int) -> tuple[Any, int]:
    """Parse the value that begins at `at`; returns it and its end. The parser sees no more than one event may have."""
    end = at + MAX_EVENT_CHARS
    seen, base = (text, 0) if end >= len(text) else (text[at:end], at)
    try:
        value, stop = _DECODER.raw_decode(seen, at - base)
    except json.JSONDecodeError as error:
        at_edge = error.pos >= len(seen) - _PARSER_LOOKAHEAD_CHARS or error.msg.startswith("Unterminated string")
        if at_edge and end < len(text):
            raise EventTooLarge(place) from None
        raise json.JSONDecodeError(error.msg, text, base + error.pos) from None
    return value, base + stop


def _skip_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at

"""Parses foreign JSON and rejects an object with a duplicate key.

The standard lets each parser choose which value counts, so one program might check a value and another use a different
one.
"""

import json
from collections import Counter
from typing import Any

MAX_SHOWN_CHARS = 100


class DuplicateKey(ValueError):
    """An object contains this key more than once."""

    def __init__(self, key: str) -> None:
        self.key = key if len(key) <= MAX_SHOWN_CHARS else f"{key[:MAX_SHOWN_CHARS]}…"
        super().__init__(f"the key {self.key!r} appears more than once in one object")


def reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object from its members; an `object_pairs_hook` of the standard parser. Raises `DuplicateKey`."""
    made = dict(pairs)
    if len(made) != len(pairs):
        times = Counter(key for key, _ in pairs)
        raise DuplicateKey(next(key for key, number in times.items() if number > 1))
    return made


def loads(text: str | bytes) -> Any:
    """Parse JSON. Raises `ValueError` for invalid JSON, and `DuplicateKey` for a duplicate key."""
    return json.loads(text, object_pairs_hook=reject_duplicate_keys)

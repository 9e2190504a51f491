"""JSON as Beacon takes it from others: a key that appears twice in one object is refused, and named.

The standard lets each parser choose which of the values counts, so what one program checked another might not do.
"""

import json
from collections import Counter
from typing import Any

MAX_SHOWN_CHARS = 100


class DuplicateKey(ValueError):
    """An object has this key more than once."""

    def __init__(self, key: str) -> None:
        self.key = key if len(key) <= MAX_SHOWN_CHARS else f"{key[:MAX_SHOWN_CHARS]}…"
        super().__init__(f"the key {self.key!r} appears more than once in one object")


def reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object with these members, as `object_pairs_hook` of the standard parser. Raises `DuplicateKey`."""
    made = dict(pairs)
    if len(made) != len(pairs):
        times = Counter(key for key, _ in pairs)
        raise DuplicateKey(next(key for key, number in times.items() if number > 1))
    return made


def loads(text: str | bytes) -> Any:
    """Raises `ValueError` for what is not JSON, and for a key that appears twice."""
    return json.loads(text, object_pairs_hook=reject_duplicate_keys)

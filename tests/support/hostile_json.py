"""Answers that are small in bytes and large in work: half a million keys, values or levels. For each kind of source.

A parametrized test takes the function that makes one: every process would make all of them while it collects tests.
"""

import json
from typing import Any

MANY = 550_000


def many_keys(value: Any = -1) -> dict[str, Any]:
    return {f"b{n}": value for n in range(MANY)}


def many_items(value: Any = 1) -> list[Any]:
    return [value] * MANY


def deep(levels: int = 100_000) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def as_bytes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class CountedBytes(bytes):
    """Counts the bytes that are taken out of it by slices."""

    taken = 0

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        self.taken += len(found) if isinstance(found, bytes) else 1
        return found

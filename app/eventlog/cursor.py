"""Where a reader of the log left off: usable, or the reason why not."""

from dataclasses import dataclass
from typing import Literal

MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading begins. With `reset` the client's own cursor was unusable and `after` is the head."""

    after: int
    head: int
    reset: Literal["malformed", "future", "pruned"] | None = None


def start(text: str | None, head: int, floor: int) -> Start:
    """`text` is what the client sent; none or an empty one begins at the head, because it has missed nothing."""
    if not text:
        return Start(head, head)
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        return Start(head, head, "malformed")
    cursor = int(text)
    if cursor > head:
        return Start(head, head, "future")
    if cursor < floor:
        return Start(head, head, "pruned")
    return Start(cursor, head)

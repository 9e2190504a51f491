"""Where a reader of the log left off: usable, or the reason why not."""

from dataclasses import dataclass
from typing import Literal

MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class StartPosition:
    """Where reading begins. With `reset` the client's own cursor was unusable and `after` is the head."""

    after: int
    head: int
    reset: Literal["malformed", "generation", "future", "pruned"] | None = None
    generation: str = ""


def parse_cursor(text: str | None) -> int | None:
    """The id that a client sent; None where there is none or it is no number."""
    if text and text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS:
        return int(text)
    return None


def resolve_start(text: str | None, head: int, floor: int, *, is_lost: bool = False) -> StartPosition:
    """`text` is what the client sent; none or an empty one begins at the head, because it has missed nothing.

    `is_lost`: it was given before an older database was put back.
    """
    if not text:
        return StartPosition(head, head)
    cursor = parse_cursor(text)
    if cursor is None:
        return StartPosition(head, head, "malformed")
    if is_lost:
        return StartPosition(head, head, "generation")
    if cursor > head:
        return StartPosition(head, head, "future")
    if cursor < floor:
        return StartPosition(head, head, "pruned")
    return StartPosition(cursor, head)

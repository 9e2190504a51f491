"""Validates a client's cursor: where it resumes in the log, or why it cannot."""

from dataclasses import dataclass
from typing import Literal

MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class StartPosition:
    """Where reading begins. If `reset` is set, the client's cursor was unusable and `after` is the head."""

    after: int
    head: int
    reset: Literal["malformed", "generation", "future", "pruned"] | None = None
    generation: str = ""


def parse_cursor(text: str | None) -> int | None:
    """Parse the id that a client sent; None if it is missing or not a number."""
    if text and text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS:
        return int(text)
    return None


def resolve_start(text: str | None, head: int, floor: int, *, is_lost: bool = False) -> StartPosition:
    """Resolve the cursor `text` of a client. Without one it begins at the head, because it has missed nothing.

    `is_lost`: the cursor was handed out before an older database was restored.
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

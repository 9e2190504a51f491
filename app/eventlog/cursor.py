"""Validates a client's cursor: where it resumes in the log, or why it cannot."""

from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy.orm import Session

from app.eventlog import reader

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


def resolve_start_position(session: Session, text: str | None, generation: str | None = None) -> StartPosition:
    """Resolve `text` against the log as it is now; `generation` is the one it was handed out with, if it was sent."""
    bounds = reader.bounds(session)
    sent = parse_cursor(text)
    is_other = bool(generation) and generation != bounds.generation
    is_lost = is_other or (sent is not None and bounds.is_lost(sent))
    return replace(resolve_start(text, bounds.head, bounds.floor, is_lost=is_lost), generation=bounds.generation)
